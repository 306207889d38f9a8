"""W3 in FedJAX 0.0.17: federated averaging, not clipped and not noised, for which it has nothing.

python -m benchmarks.peers.fedjax_rounds --workload W3

The network is FedJAX's own for EMNIST, which is the same as LEAF's. One process, whose threads are jax's.
"""

import os

os.environ["JAX_PLATFORMS"] = "cpu"

import fedjax  # noqa: E402
import jax  # noqa: E402
import torch  # noqa: E402
from fedjax.algorithms import fed_avg  # noqa: E402

from benchmarks.peers.plain import WORKLOADS, arguments, say, user_data  # noqa: E402


def main() -> None:
    options = arguments(__doc__)
    name, work = options.workload, WORKLOADS[options.workload]
    cohort = options.users or work.users_per_round
    population = 2 * options.users if options.users else work.population
    users = {}
    for user in range(population):
        images, labels = user_data(name, user)
        users[str(user).encode()] = {"x": images.movedim(1, 3).numpy(), "y": labels.to(torch.int32).numpy()}
    network = fedjax.models.emnist.create_conv_model(only_digits=False)
    averaging = fed_avg.federated_averaging(
        fedjax.model_grad(network),
        fedjax.optimizers.sgd(work.learning_rate),
        fedjax.optimizers.sgd(1.0),
        fedjax.ShuffleRepeatBatchHParams(batch_size=work.batch, num_epochs=1, seed=0),
    )
    state = averaging.init(network.init(jax.random.PRNGKey(0)))
    sampler = fedjax.client_samplers.UniformGetClientSampler(
        fedjax.InMemoryFederatedData(users), num_clients=cohort, seed=0
    )
    for round in range(options.rounds):
        sampler.set_round_num(round)
        state, _ = averaging.apply(state, sampler.sample())
        jax.block_until_ready(state.params)
        say("fedjax", name, round)


if __name__ == "__main__":
    main()
