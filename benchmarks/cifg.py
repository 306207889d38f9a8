"""A training step of the char-LM: fedprobe's CIFG layers against torch's fused LSTM with projection, on one thread.

    python -m benchmarks.cifg [--steps 30]

The step is that of a local batch: 16 words of 20 bytes through 3 layers of 256 cells, projection 128. Medians over
steps that take turns; what to quote is the ratio. (The LSTM has a fourth gate, and so a third more weights.)
"""

import argparse
import json
import statistics
import time

import torch
from torch import Tensor, nn

from fedprobe.models.language import LanguageConfig


class FusedLstm(nn.Module):
    """The same model around `nn.LSTM`."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.symbols, config.embedding)
        self.lstm = nn.LSTM(config.embedding, config.hidden, config.layers, proj_size=config.projection)
        self.output = nn.Linear(config.projection, config.symbols)

    def loss(self, symbols_BT: Tensor, targets_BT: Tensor) -> Tensor:
        outputs_TBP, _ = self.lstm(self.embedding(symbols_BT.T))
        return nn.functional.cross_entropy(self.output(outputs_TBP).flatten(0, 1), targets_BT.T.flatten())


def measure(steps: int) -> dict[str, float]:
    """The median seconds a step of each model."""
    torch.set_num_threads(1)
    config = LanguageConfig(258, 128, 256, 128, 3, peepholes=False, tied=False)
    peepholes = LanguageConfig(258, 128, 256, 128, 3, peepholes=True, tied=False)
    models = {"cifg": config.build(), "cifg_with_peepholes": peepholes.build(), "fused_lstm": FusedLstm(config)}
    letters = torch.arange(ord("a"), ord("z") + 1)
    symbols, targets = letters[torch.randint(0, 26, (2, 16, 20), generator=torch.Generator().manual_seed(0))]
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for step in range(steps + 1):
        for name, model in models.items():
            started = time.perf_counter()
            torch.autograd.grad(model.loss(symbols, targets), list(model.parameters()))
            if step:
                seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {**medians, "ratio": medians["cifg"] / medians["fused_lstm"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = measure(arguments.steps)
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"seconds a step, median of {arguments.steps}, one thread")
    for name in ("cifg", "cifg_with_peepholes", "fused_lstm"):
        print(f"{name.replace('_', ' '):<20} {result[name]:.4f}")
    print(f"{'cifg / fused lstm':<20} {result['ratio']:.2f}")


if __name__ == "__main__":
    main()
