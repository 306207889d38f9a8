"""The local steps of a workload and nothing else, in two processes of one thread: what plain torch needs.

No averaging, no clipping, no noise, no server but for the generator's steps of W2.
"""

import multiprocessing
from multiprocessing.connection import Connection

import torch

from benchmarks.peers.plain import NETWORKS, WORKLOADS, arguments, batches, say, user_data

PROCESSES = 2


def train(name: str, users: list[tuple[torch.Tensor, ...]], connection: Connection) -> None:
    """One process's share of the users, once for each number that comes; None ends it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, work = NETWORKS[name](), WORKLOADS[name]
    optimizer = torch.optim.SGD(network.parameters(), lr=work.learning_rate, weight_decay=work.weight_decay)
    while (round := connection.recv()) is not None:
        for data in users:
            for batch in batches(name, data):
                optimizer.zero_grad()
                network.loss(*batch).backward()
                optimizer.step()
        connection.send(round)


def main() -> None:
    options = arguments(__doc__)
    name, cohort = options.workload, options.users or WORKLOADS[options.workload].users_per_round
    torch.set_num_threads(1)
    users = [user_data(name, user) for user in range(cohort)]
    context = multiprocessing.get_context("fork")
    connections = []
    for first in range(PROCESSES):
        ours, theirs = context.Pipe()
        context.Process(target=train, args=(name, users[first::PROCESSES], theirs), daemon=True).start()
        connections.append(ours)
    network = NETWORKS[name]() if name == "W2" else None
    for round in range(options.rounds):
        for connection in connections:
            connection.send(round)
        for connection in connections:
            connection.recv()
        if network is not None:
            network.generator_phase()
        say("bare loop", name, round)
    for connection in connections:
        connection.send(None)


if __name__ == "__main__":
    main()
