"""A workload in FLSim 0.1.0: federated averaging, clipped and noised centrally.

Two processes, its fastest form on two cores:
python -m torch.distributed.run --nproc_per_node 2 benchmarks/peers/flsim_rounds.py --workload W1
"""

import dataclasses
import functools
import logging
import os
from typing import Any

import hydra  # noqa: F401
import opacus  # noqa: F401
import pandas  # noqa: F401
import torch

# FLSim's defaults are instances of its own data classes. Python takes those since 3.11 only where they can be hashed,
# as they can where they are not compared; what it imports from others is there already.
_dataclass = dataclasses.dataclass
dataclasses.dataclass = functools.partial(_dataclass, eq=False)
try:
    from flsim.clients.base_client import ClientConfig
    from flsim.data.data_provider import FLDataProviderFromList
    from flsim.interfaces.batch_metrics import IFLBatchMetrics
    from flsim.interfaces.model import IFLModel
    from flsim.optimizers.local_optimizers import LocalOptimizerSGDConfig
    from flsim.optimizers.server_optimizers import FedAvgWithLROptimizerConfig
    from flsim.privacy.common import PrivacySetting
    from flsim.servers.sync_dp_servers import SyncDPSGDServerConfig
    from flsim.trainers.sync_trainer import SyncTrainer
finally:
    dataclasses.dataclass = _dataclass

from benchmarks.peers.plain import NETWORKS, WORKLOADS, arguments, batches, say, user_data  # noqa: E402


class Metrics(IFLBatchMetrics):
    """A batch's loss and size, all that training asks for."""

    loss = num_examples = predictions = targets = model_inputs = None

    def __init__(self, loss: torch.Tensor, examples: int) -> None:
        self.loss, self.num_examples = loss, examples


class Model(IFLModel):
    """One of the plain networks."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network

    def fl_forward(self, batch: tuple[torch.Tensor, ...]) -> Metrics:
        return Metrics(self.network.loss(*batch), len(batch[0]))

    def fl_create_training_batch(self, *, batch: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return batch

    def fl_get_module(self) -> torch.nn.Module:
        return self.network

    def fl_cuda(self) -> None:
        raise NotImplementedError

    get_eval_metrics = fl_forward

    def get_num_examples(self, batch: tuple[torch.Tensor, ...]) -> int:
        return len(batch[0])


class Rounds(SyncTrainer):
    """The server's generator steps after a round, alike on every rank, and the round's line from the first."""

    def __init__(self, name: str, model: Model, **config: Any) -> None:
        super().__init__(model=model, cuda_enabled=False, **config)
        self._name, self._round = name, 0

    def _train_one_round(self, *positional: Any, **keywords: Any) -> None:
        super()._train_one_round(*positional, **keywords)
        if self._name == "W2":
            torch.manual_seed(self._round)
            self.global_model().fl_get_module().generator_phase()
        if torch.distributed.get_rank() == 0:
            say("flsim", self._name, self._round)
        self._round += 1


def main() -> None:
    options = arguments(__doc__)
    logging.disable(logging.WARNING)
    name, work = options.workload, WORKLOADS[options.workload]
    cohort = options.users or work.users_per_round
    population = 2 * options.users if options.users else work.population
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank, ranks = torch.distributed.get_rank(), int(os.environ["WORLD_SIZE"])
    torch.manual_seed(0)
    model = Model(NETWORKS[name]())
    users = [list(batches(name, user_data(name, user))) for user in range(rank, population, ranks)]
    trainer = Rounds(
        name,
        model,
        # An epoch of FLSim's is the population once.
        epochs=options.rounds * cohort / population,
        do_eval=False,
        always_keep_trained_model=True,
        report_train_metrics=False,
        users_per_round=cohort,
        client=ClientConfig(
            epochs=1, optimizer=LocalOptimizerSGDConfig(lr=work.learning_rate, weight_decay=work.weight_decay)
        ),
        server=SyncDPSGDServerConfig(
            server_optimizer=FedAvgWithLROptimizerConfig(lr=1.0, momentum=work.server_momentum),
            # Without a seed, which would be the same noise every round.
            privacy_setting=PrivacySetting(noise_multiplier=work.noise_multiplier, clipping_value=work.clip_norm),
        ),
    )
    data = FLDataProviderFromList(train_user_list=users, eval_user_list=[], test_user_list=[], model=model)
    trainer.train(data, None, num_total_users=population, distributed_world_size=ranks, rank=rank)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
