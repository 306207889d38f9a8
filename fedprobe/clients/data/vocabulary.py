"""Counting a vocabulary: the most frequent words of a simulation's shards, or of a public file."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedprobe.clients.data.index import DataError
from fedprobe.clients.data.shards import FederatedDataset
from fedprobe.clients.text import TOKENIZERS
from fedprobe.models.vocabulary import Vocabulary, fault_of, read_vocabulary, write_vocabulary
from fedprobe.privacy.population import folder_of, require_simulation

# The folder, beside the data, of the vocabularies that know these users.
_COUNTED = "vocabularies"
_ALIKE = 0.9


@dataclass(frozen=True)
class CountedVocabulary:
    """A vocabulary and what it was counted on: `tokens` in all, `distinct` ones, `covered` by the vocabulary."""

    vocabulary: Vocabulary
    tokens: int
    distinct: int
    covered: int


def count_shards(
    dataset: FederatedDataset, size: int, on_users: Callable[[int], None] = lambda users: None
) -> CountedVocabulary:
    """The `size` most frequent words of all users, exactly; that it was counted here is noted beside the data.

    Raises PrivacyRefusal unless the population is a simulation, DataError where text cannot be read.
    """
    require_simulation(dataset.population, "counting a vocabulary")
    dataset.require_text()
    counter: Counter[str] = Counter()
    for user in range(len(dataset)):
        for sentence in dataset.sentences(user):
            counter.update(sentence)
        on_users(user + 1)
    counted = _most_frequent(counter, size)
    for folder in _folders(dataset):
        _note(folder, [counted.vocabulary])
    return counted


def count_public_file(path: Path, size: int, tokenizer: str = "words") -> CountedVocabulary:
    """The `size` most frequent words of a public UTF-8 text file. Raises DataError if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read; --public takes a text file") from error
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text; --public takes a text file") from None
    return _most_frequent(Counter(TOKENIZERS[tokenizer](text)), size)


def made_here(dataset: FederatedDataset, vocabulary: Vocabulary) -> bool:
    """Whether `vocabulary` was counted on these very shards, on what they were copied from, or hardly differs from one.

    Nine words of ten in a vocabulary that was counted here are enough. What was counted after a copy was made, on the
    other one, is not noticed.
    """
    return any(
        sum(word in counted for word in vocabulary.words) >= _ALIKE * len(vocabulary) for counted in _notes(dataset)
    )


def carry_notes(dataset: FederatedDataset, folder: Path) -> None:
    """Let copies whose record lies in `folder` know the vocabularies that were counted on `dataset`."""
    _note(folder, _notes(dataset))


def _folders(dataset: FederatedDataset) -> set[Path]:
    """Beside every shard, and in the record."""
    if dataset.population is None:
        return set()
    places = {None, dataset.record}
    folders = {folder_of(dataset.population, path, place) for path in dataset.paths for place in places}
    # A record alone serves shards that nothing can be written beside.
    return {folder for folder in folders if folder.is_dir() or folder == dataset.folder}


def _notes(dataset: FederatedDataset) -> list[Vocabulary]:
    files = (file for folder in _folders(dataset) for file in sorted((folder / _COUNTED).glob("*.txt")))
    return [read_vocabulary(file) for file in files]


def _note(folder: Path, vocabularies: Sequence[Vocabulary]) -> None:
    for vocabulary in vocabularies:
        write_vocabulary(folder / _COUNTED / f"{vocabulary.digest}.txt", vocabulary)


def _most_frequent(counter: Counter[str], size: int) -> CountedVocabulary:
    """Ties are broken by the alphabet; words that cannot stand in a vocabulary's file are left out."""
    usable = ((word, count) for word, count in counter.items() if fault_of(word) is None)
    ranked = sorted(usable, key=lambda entry: (-entry[1], entry[0]))[:size]
    if not ranked:
        raise DataError("there are no words to count")
    return CountedVocabulary(
        Vocabulary(tuple(word for word, _ in ranked)),
        counter.total(),
        len(counter),
        sum(count for _, count in ranked),
    )
