"""One user who does not exist, and her update: for measuring what training costs without opening a shard."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase

import numpy as np

from fedprobe.clients.classifier_update import ClassifierUpdate
from fedprobe.clients.data.shards import UserBatch
from fedprobe.clients.language_update import LanguageModelUpdate
from fedprobe.clients.selection import Members
from fedprobe.clients.updates import ClientUpdate, CriticUpdate
from fedprobe.models.classifier import ClassifierConfig
from fedprobe.models.gan import GanConfig
from fedprobe.models.language import LanguageConfig
from fedprobe.models.vocabulary import SPECIALS, Bytes, Vocabulary
from fedprobe.privacy.mechanism import Mechanism

# Who is in a cohort of one.
ONLY = Members(np.zeros(1, np.int64))


@dataclass(frozen=True)
class MadeUpUser:
    """Stands where a `FederatedDataset` does, with one user: `examples` images of noise, or sentences.

    Images have `shape` (C, H, W) and are labelled 0. A sentence has `length` tokens: the next of `words`, in turn.
    """

    examples: int
    shape: tuple[int, int, int] = (1, 28, 28)
    words: tuple[str, ...] = ()
    length: int = 1

    def user_id(self, user: int) -> str:
        return "made up"

    def require_labels(self) -> None:
        """She has some."""

    def read(self, users: Sequence[int]) -> UserBatch:
        """Her images, whoever is asked for."""
        pixels = np.random.default_rng(0).random((self.examples, *self.shape), dtype=np.float32)
        return UserBatch(pixels, np.zeros(self.examples, np.int64), np.array([0, self.examples]))

    def sentences(self, user: int) -> list[list[str]]:
        """Her sentences, whoever is asked for."""
        words = itertools.cycle(self.words)
        return [list(itertools.islice(words, self.length)) for _ in range(self.examples)]


def made_up_update(training, networks, batches: int, precision: str = "float32") -> ClientUpdate:
    """The update, on a CPU, of a made-up user who trains on `batches` full batches in one pass over what she has.

    `training` is a `GanTraining`, `LanguageTraining` or `ClassifierTraining`, which this room does not import;
    `networks` says which. A sequence is as long as the plan lets one be. Of a GAN, `precision` is float32.
    """
    size = training.local_batch_size
    count = batches * size
    mechanism = Mechanism(training.clip_norm, training.noise_multiplier)
    rate = training.client_learning_rate
    if isinstance(networks, GanConfig):
        user = MadeUpUser(count, (networks.channels, networks.height, networks.width))
        return CriticUpdate(user, ONLY, networks, mechanism, size, batches, rate, training.gradient_penalty, 0)
    if isinstance(networks, ClassifierConfig):
        user = MadeUpUser(count, (networks.channels, networks.height, networks.width))
        return ClassifierUpdate(user, ONLY, networks, mechanism, size, 1, count, rate, 0, precision=precision)
    assert isinstance(networks, LanguageConfig)
    length = training.sequence_length
    if networks.symbols == Bytes.symbols:
        codec: Bytes | Vocabulary = Bytes()
        # Each sentence is a word, so that there are as many sequences as sentences; of all letters, as in text.
        letters = itertools.islice(itertools.cycle(ascii_lowercase), length - 1)
        user = MadeUpUser(count, words=("".join(letters),))
    else:
        # No two places of a batch have the same word, where there are so many: nothing is computed for both.
        few = max(1, min(networks.symbols - SPECIALS, size * (length - 1)))
        codec = Vocabulary(tuple(f"word{number}" for number in range(few)))
        user = MadeUpUser(count, words=codec.words, length=length - 1)
    symbols = count * length
    caps = 1, count, symbols, length
    return LanguageModelUpdate(user, ONLY, codec, networks, mechanism, size, *caps, rate, 0, precision=precision)
