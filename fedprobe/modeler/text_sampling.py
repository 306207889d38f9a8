"""Drawing synthetic words and sentences from a run's language model, and their exact probabilities: post-processing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor

from fedprobe.errors import FedprobeError
from fedprobe.modeler.printable import one_line
from fedprobe.models.flat import attach
from fedprobe.models.language import LanguageConfig, LanguageModel, log_probabilities, possible
from fedprobe.models.stored import StoredError
from fedprobe.models.vocabulary import OOV, Bytes, Vocabulary
from fedprobe.privacy.randomness import key
from fedprobe.runs import Run, find

_AT_ONCE = 4096
# The paper scores what 100,000 independent threads draw.
DRAWN_WORDS = 20_000
DRAWN_SENTENCES = 10_000


class DivergedError(FedprobeError):
    """The training went astray: there is nothing to sample."""


@dataclass(frozen=True)
class TextSampler:
    """The language model of one checkpoint of a run, and the codec of its symbols."""

    run: Run
    round: int
    model: LanguageModel
    codec: Bytes | Vocabulary

    @cached_property
    def longest(self) -> int:
        """How many symbols a sequence had at most in training."""
        return int(self.run.config["training"]["sequence_length"])


def open_text_sampler(path: Path) -> TextSampler:
    """The sampler of a run (its latest checkpoint) or of one checkpoint's folder.

    Raises RunError where `path` is neither, StoredError where the checkpoint or the vocabulary is cut short, altered,
    or not a language model's.
    """
    run, checkpoint = find(path)
    config = run.config
    codecs = {"train-charlm": Bytes, "train-wordlm": lambda: run.vocabulary}
    if config.get("command") not in codecs:
        raise StoredError(f"{run.path} holds no language model; give a run of train-wordlm or train-charlm")
    codec = codecs[config["command"]]()
    tensors, round = run.load(checkpoint)
    try:
        model = model_of(LanguageConfig(**config["architecture"]), tensors["average"])
        sampler = TextSampler(run, round, model, codec)
        if model.config.symbols != codec.symbols or sampler.longest < 1:
            raise ValueError("another number of symbols")
        return sampler
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise StoredError(f"{run.path} does not hold the model that it describes; train again") from error


def model_of(config: LanguageConfig, vector_P: Tensor) -> LanguageModel:
    """The model with the parameters `vector_P`, in evaluation mode."""
    model = config.build()
    attach(model, vector_P.cpu().clone())
    return model.eval()


@torch.inference_mode()
def sample_sequences(
    model: LanguageModel,
    codec: Bytes | Vocabulary,
    count: int,
    longest: int,
    seed: int,
    temperature: float = 1.0,
    purpose: str = "sample",
) -> list[list[int]]:
    """Draw `count` sequences of ids, independent threads in a batch; one that ended holds the end symbol.

    A sequence is cut after `longest` symbols. `temperature` divides the logits.
    """
    stream = torch.Generator().manual_seed(key(seed, purpose))
    sequences: list[list[int]] = []
    for first in range(0, count, _AT_ONCE):
        threads = min(_AT_ONCE, count - first)
        drawn = torch.full((threads, longest + 1), codec.end)
        alive = torch.arange(threads)
        symbols, state = torch.full((threads,), codec.begin), model.start(threads)
        for position in range(longest + 1):
            logits, state = model.step(symbols, state)
            chances = possible(logits, codec).div_(temperature).softmax(1)
            if not chances.isfinite().all():
                raise DivergedError("the model's parameters have grown beyond all bounds; train with smaller steps")
            symbols = torch.multinomial(chances, 1, generator=stream).squeeze(1)
            drawn[alive, position] = symbols
            going = symbols != codec.end
            alive, symbols = alive[going], symbols[going]
            state = [(r[going], c[going]) for r, c in state]
            if not len(alive):
                break
        for row in drawn.tolist():
            length = row.index(codec.end) + 1 if codec.end in row else longest
            sequences.append(row[:length])
    return sequences


@dataclass(frozen=True)
class ScoredWord:
    """A word (`ids` without the end symbol) and ln of its exact joint probability under a checkpoint."""

    ids: tuple[int, ...]
    word: str
    log_probability: float

    @property
    def joint_probability(self) -> float:
        """0 where it is too small for a float."""
        return math.exp(self.log_probability)


def scored(sampler: TextSampler, words: Sequence[Sequence[int]]) -> list[ScoredWord]:
    """The exact joint probability of each of `words` (ids without the end symbol), in their order."""
    scores = log_probabilities(sampler.model, sampler.codec, [[*word, sampler.codec.end] for word in words])
    return [
        ScoredWord(tuple(word), sampler.codec.decode(word), float(score))
        for word, score in zip(words, scores, strict=True)
    ]


def drawn_words(sampler: TextSampler, count: int, seed: int, temperature: float = 1.0, purpose: str = "words") -> list:
    """Draw `count` words as ids; those that did not end in time are left out, so there may be fewer."""
    drawn = sample_sequences(sampler.model, sampler.codec, count, sampler.longest, seed, temperature, purpose)
    end = sampler.codec.end
    return [sequence[:-1] for sequence in drawn if sequence[-1] == end and len(sequence) > 1]


def top_words(sampler: TextSampler, drawn: Sequence[Sequence[int]], top: int) -> list[ScoredWord]:
    """The `top` most probable of the distinct words among `drawn`, scored exactly (paper, Tables 2 and 8)."""
    words = scored(sampler, list(dict.fromkeys(map(tuple, drawn))))
    return sorted(words, key=lambda word: -word.log_probability)[:top]


@dataclass(frozen=True)
class OovProfile:
    """How often sampled sentences have a word out of vocabulary at each position (paper, Figures 1 and 4).

    `oov` of the `reached` sentences that have a word at that position [positions].
    """

    oov: np.ndarray
    reached: np.ndarray

    @property
    def rates(self) -> list[float]:
        """The rate at each position."""
        return (self.oov / self.reached).tolist()

    @cached_property
    def intervals(self) -> list[tuple[float, float]]:
        """The 95% interval of each rate (Wilson 1927)."""
        return [_wilson(int(hits), int(count)) for hits, count in zip(self.oov, self.reached, strict=True)]

    @property
    def overall(self) -> float:
        """The share of all words that are out of vocabulary (paper, Table 6); 0 where there are none."""
        return float(self.oov.sum() / max(1, self.reached.sum()))

    @property
    def overall_interval(self) -> tuple[float, float]:
        """The 95% interval of `overall`, as if words were independent."""
        return _wilson(int(self.oov.sum()), max(1, int(self.reached.sum())))

    def to_json(self) -> dict:
        """The keys that `sample` and `compare` share."""
        return {
            "oov_rate": self.overall,
            "oov_rate_interval": list(self.overall_interval),
            "oov_rate_by_position": self.rates,
            "oov_rate_by_position_intervals": [list(interval) for interval in self.intervals],
            "sentences_by_position": self.reached.tolist(),
        }


def drawn_sentences(
    sampler: TextSampler, count: int, seed: int, temperature: float = 1.0, purpose: str = "sentences"
) -> list[list[int]]:
    """Draw `count` sentences as ids of words, end symbols removed; some may be empty."""
    drawn = sample_sequences(sampler.model, sampler.codec, count, sampler.longest, seed, temperature, purpose)
    return [[id for id in sequence if id != sampler.codec.end] for sequence in drawn]


def oov_by_position(sentences: Sequence[Sequence[int]]) -> OovProfile:
    """Count words out of vocabulary at every position that any of `sentences` (ids) reaches."""
    longest = max(map(len, sentences), default=0)
    oov, reached = np.zeros(longest, np.int64), np.zeros(longest, np.int64)
    for sentence in sentences:
        reached[: len(sentence)] += 1
        oov[: len(sentence)] += np.array(sentence) == OOV if sentence else 0
    return OovProfile(oov, reached)


def write_samples(path: Path, model: LanguageModel, codec: Bytes | Vocabulary, longest: int, seed: int) -> Path:
    """Draw a hundred words or sentences and write them to `path`, one a line; return it."""
    drawn = sample_sequences(model, codec, 100, longest, seed)
    texts = (codec.decode(id for id in sequence if id != codec.end) for sequence in drawn)
    lines = (text if isinstance(text, str) else " ".join(text) for text in texts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(one_line(line) + "\n" for line in lines), encoding="utf-8")
    return path


def in_thousandths(log_probability: float) -> str:
    """A probability in units of 1e-3 for a table, however small it is."""
    if log_probability > -600:
        return f"{1000 * math.exp(log_probability):.3g}"
    return f"1e{math.floor(log_probability / math.log(10)) + 3}"


def _wilson(hits: int, count: int) -> tuple[float, float]:
    interval = binomtest(hits, count).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
