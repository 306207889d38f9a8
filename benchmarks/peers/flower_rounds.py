"""A workload in Flower 1.42, simulated by two Ray actors of one thread: federated averaging, clipped by the devices.

python -m benchmarks.peers.flower_rounds --workload W1

The model travels, but not the generator of W2: every actor has one of its own.
"""

import functools
import logging
import os
from collections.abc import Iterable

import torch

ACTORS = 2
_RAY = {
    # Whoever is stopped for minutes answers late, and is not to be taken for dead.
    "health_check_timeout_ms": 600_000,
    "health_check_failure_threshold": 1000,
    "memory_monitor_refresh_ms": 0,
    # Actors would give way to all else on the machine.
    "worker_niceness": 0,
}
os.environ |= {f"RAY_{name}": str(value) for name, value in _RAY.items()}
os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.clientapp.mod import fixedclipping_mod  # noqa: E402
from flwr.serverapp import Grid, ServerApp  # noqa: E402
from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping, FedAvgM  # noqa: E402
from flwr.simulation import run_simulation  # noqa: E402

from benchmarks.peers.plain import NETWORKS, WORKLOADS, arguments, batches, say, user_data  # noqa: E402

network_of = functools.cache(lambda name: NETWORKS[name]())
# Drawn once by an actor, and held.
data_of = functools.cache(user_data)
device = ClientApp(mods=[fixedclipping_mod])


@device.train()
def train(message: Message, context: Context) -> Message:
    """One user's local steps."""
    torch.set_num_threads(1)
    name, user = message.content["config"]["workload"], context.node_config["partition-id"]
    network, work = network_of(name), WORKLOADS[name]
    network.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(network.parameters(), lr=work.learning_rate, weight_decay=work.weight_decay)
    for batch in batches(name, data_of(name, user)):
        optimizer.zero_grad()
        network.loss(*batch).backward()
        optimizer.step()
    trained = {"arrays": ArrayRecord(network.state_dict()), "metrics": MetricRecord({"num-examples": work.examples})}
    return Message(content=RecordDict(trained), reply_to=message)


class Rounds(DifferentialPrivacyClientSideFixedClipping):
    """The server's generator steps after a round, and the round's line."""

    def __init__(self, name: str, cohort: int, population: int) -> None:
        work = WORKLOADS[name]
        averaging = FedAvgM(
            fraction_train=cohort / population,
            fraction_evaluate=0.0,
            min_train_nodes=cohort,
            min_available_nodes=population,
            server_momentum=work.server_momentum,
        )
        super().__init__(averaging, work.noise_multiplier, work.clip_norm, cohort)
        self._name, self._cohort = name, cohort

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        replies = list(replies)
        if sum(not reply.has_error() for reply in replies) < self._cohort:
            raise RuntimeError("a user's update is missing")
        arrays, metrics = super().aggregate_train(server_round, replies)
        if self._name == "W2":
            network = network_of(self._name)
            network.load_state_dict(arrays.to_torch_state_dict())
            network.generator_phase()
        say("flower", self._name, server_round - 1)
        return arrays, metrics


def main() -> None:
    options = arguments(__doc__)
    logging.getLogger("flwr").setLevel(logging.WARNING)
    name, work = options.workload, WORKLOADS[options.workload]
    cohort = options.users or work.users_per_round
    population = 2 * options.users if options.users else work.population
    torch.set_num_threads(1)
    torch.manual_seed(0)
    server = ServerApp()

    @server.main()
    def serve(grid: Grid, context: Context) -> None:
        first, config = ArrayRecord(network_of(name).state_dict()), ConfigRecord({"workload": name})
        Rounds(name, cohort, population).start(grid, first, options.rounds, timeout=1e6, train_config=config)

    ray = {"num_cpus": ACTORS, "include_dashboard": False, "log_to_driver": False}
    backend = {"init_args": ray, "client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, device, num_supernodes=population, backend_config=backend)


if __name__ == "__main__":
    # By the module's own name, so that actors import it once, and what they have made is there in the next round.
    from benchmarks.peers import flower_rounds

    flower_rounds.main()
