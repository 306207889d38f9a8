"""A workload in pfl-research 0.6.0: federated averaging, clipped and noised centrally.

Two processes, its fastest form on two cores:
python -m torch.distributed.run --nproc_per_node 2 benchmarks/peers/pfl_rounds.py --workload W1
"""

import functools
import logging
import os

import torch

os.environ.setdefault("PFL_PYTORCH_DEVICE", "cpu")
logging.disable(logging.WARNING)
if not hasattr(torch.distributed, "reduce_op"):
    # A name that torch removed and pfl 0.6.0 still asks for.
    torch.distributed.reduce_op = torch.distributed.ReduceOp

from pfl.aggregate.simulate import SimulatedBackend  # noqa: E402
from pfl.aggregate.weighting import WeightByUser  # noqa: E402
from pfl.algorithm.base import NNAlgorithmParams  # noqa: E402
from pfl.algorithm.federated_averaging import FederatedAveraging  # noqa: E402
from pfl.callback.base import TrainingProcessCallback  # noqa: E402
from pfl.data.dataset import Dataset  # noqa: E402
from pfl.data.federated_dataset import FederatedDataset  # noqa: E402
from pfl.data.sampling import get_user_sampler  # noqa: E402
from pfl.hyperparam import NNEvalHyperParams, NNTrainHyperParams  # noqa: E402
from pfl.internal.ops import pytorch_ops  # noqa: E402
from pfl.metrics import Metrics, Weighted  # noqa: E402
from pfl.model.pytorch import PyTorchModel  # noqa: E402
from pfl.privacy import CentrallyAppliedPrivacyMechanism, GaussianMechanism  # noqa: E402

from benchmarks.peers.plain import NETWORKS, WORKLOADS, arguments, say, user_data  # noqa: E402


class AfterRound(TrainingProcessCallback):
    """The server's generator steps, alike on every rank, and the round's line from the first."""

    def __init__(self, name: str, network: torch.nn.Module) -> None:
        self._name, self._network = name, network

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        if self._name == "W2":
            torch.manual_seed(central_iteration)
            self._network.generator_phase()
        if pytorch_ops.distributed.global_rank == 0:
            say("pfl", self._name, central_iteration)
        return False, Metrics()


def main() -> None:
    options = arguments(__doc__)
    name, work = options.workload, WORKLOADS[options.workload]
    cohort = options.users or work.users_per_round
    population = 2 * options.users if options.users else work.population
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = NETWORKS[name]()
    network.metrics = lambda *inputs, **keywords: {"loss": Weighted(0.0, 1)}
    users = [user_data(name, user) for user in range(population)]
    model = PyTorchModel(
        model=network,
        local_optimizer_create=functools.partial(torch.optim.SGD, weight_decay=work.weight_decay),
        central_optimizer=torch.optim.SGD(
            network.parameters(), lr=1.0, momentum=work.server_momentum, nesterov=work.server_momentum > 0
        ),
    )
    data = FederatedDataset(
        lambda user: Dataset(raw_data=list(users[user]), user_id=str(user)),
        get_user_sampler("random", range(population)),
    )
    noise = CentrallyAppliedPrivacyMechanism(GaussianMechanism(work.clip_norm, work.noise_multiplier))
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=options.rounds,
            evaluation_frequency=10**9,
            train_cohort_size=cohort,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(training_data=data, val_data=data, postprocessors=[WeightByUser(), noise]),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=work.learning_rate, local_batch_size=work.batch
        ),
        model_eval_params=NNEvalHyperParams(local_batch_size=None),
        callbacks=[AfterRound(name, network)],
        send_metrics_to_platform=False,
    )


if __name__ == "__main__":
    main()
