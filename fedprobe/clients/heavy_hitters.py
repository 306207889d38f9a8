"""Which words a user names where each may name a few: from her selected words to a sum of users' contributions."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedprobe.clients.data.shards import FederatedDataset, TextError
from fedprobe.clients.selection import Members
from fedprobe.clients.updates import Public
from fedprobe.privacy.partition_selection import PartitionSelection
from fedprobe.privacy.randomness import key


@dataclass(frozen=True)
class NamedWords:
    """Each user's words, at most `mechanism.words_per_user` of them, summed sparsely: integers by word.

    *Guarantee:* what is returned is a sum of `PartitionSelection.contribution`s, one a user; which words she names
    depends on her own words and on the public `seed`.
    """

    dataset: FederatedDataset
    members: Members
    mechanism: PartitionSelection
    seed: int

    def __call__(self, public: Public, members: Iterable[int], round: int) -> Counter[str]:
        """The sum over `members` (positions in the cohort) of their contributions; nothing is `public`."""
        total: Counter[str] = Counter()
        for member in members:
            try:
                words = self.members.words(self.dataset, member)
            except TextError:
                # Her contribution is nothing, silently: nobody may learn whose text is bad.
                continue
            total.update(self.mechanism.contribution(in_order(words, self.seed)))
        return total


def in_order(words: Sequence[str], seed: int) -> list[str]:
    """A user's distinct `words`, those first that she names where she may not name them all: her most frequent ones.

    Of equally frequent ones, and most she has once, those first that come first in a random order of all words which
    the public `seed` decides: users who have the same words name the same ones, so that what many have is named by
    many. (Such samples are called coordinated: Cohen and Kaplan 2007, "Summarizing Data Using Bottom-k Sketches".) Two
    runs with one seed name alike, and can be compared.
    """
    frequencies = Counter(words)
    return sorted(frequencies, key=lambda word: (-frequencies[word], key(seed, "named words", word), word))
