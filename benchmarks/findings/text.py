"""The zoo of text: how often the right finding comes first, by bug, and how often there is one without a bug.

    python -m benchmarks.findings.text SHARDS.h5 --epsilon 4 --seeds 3

The words of one vocabulary, counted on the healthy shards, are not asked for; all others are each user's examples, as
`data vocabulary`, `data corrupt` and `train-charlm --method one-round --cohort oov-words` do it. Before against after
with the same users: two releases at `--epsilon` each. A seed decides which sentences are struck and the order in which
users name words; noise is the operating system's. Bugs of case strike the raw column, all others the tokens.

One line a (bug, share, seed): the finding that came first and its strength. Then the table, and pairs without a bug: at
each of `--null-sizes` of the vocabulary, with other noise, with another order of words, and with other users.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.heavy_hitters import Struck, counted, training_at
from fedprobe.clients.data.shards import open_dataset
from fedprobe.clients.heavy_hitters import NamedWords
from fedprobe.clients.selection import Members
from fedprobe.clients.text import TextFormat
from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.findings.known_words import KnownWords
from fedprobe.modeler.findings.sides import Released
from fedprobe.modeler.findings.words import word_findings
from fedprobe.models.vocabulary import Vocabulary
from fedprobe.privacy.partition_selection import ReleasedWords
from fedprobe.server.heavy_hitter_training import WORDS_PER_USER

# Each bug with the finding that is right, and the shares of sentences that it strikes.
ZOO = {
    "join-first-tokens": ("joined-tokens", (0.1, 1.0)),
    "drop-first-blank": ("joined-tokens", (0.1, 1.0)),
    "split-tokens": ("tokens-split", (0.1, 1.0)),
    "lose-case": ("case-lost", (0.3, 1.0)),
    "lock-capitals": ("case-changed", (0.1, 1.0)),
    "glue-punctuation": ("punctuation-glued", (0.1, 1.0)),
    "damage-encoding": ("encoding-damage", (0.1, 1.0)),
    "truncate-tokens": ("truncation", (0.1, 1.0)),
    "truncate-sentences": ("truncation", (0.3, 1.0)),
    "stutter-tokens": ("repeated-tokens", (0.1, 1.0)),
    "repeat-tokens": ("repeated-tokens", (0.1, 1.0)),
    "mix-scripts": ("script-shift", (0.1, 1.0)),
    "leave-markup": ("markup-left", (0.1, 1.0)),
    "escape-markup": ("markup-left", (0.1, 1.0)),
    "mark-invisibly": ("invisible-characters", (0.1, 1.0)),
    "mask-numbers": ("placeholders", (0.1, 1.0)),
    "swap-letters": ("letters-changed", (0.1, 1.0)),
}
# They need capitals, which the tokens have lost already.
OF_RAW_TEXT = ("lose-case",)


@dataclass(frozen=True)
class Text:
    """Users' sentences in one column, and the vocabulary that was counted on them."""

    users: list[str]
    healthy: list[list[list[str]]]
    vocabulary: Vocabulary

    @classmethod
    def read(cls, shards: Sequence[str], text: TextFormat, size: int) -> "Text":
        dataset = open_dataset(shards, text=text)
        dataset.require_text()
        healthy = [dataset.sentences(user) for user in range(len(dataset))]
        return cls(dataset.users, healthy, counted(healthy, size))

    def resized(self, size: int) -> "Text":
        return Text(self.users, self.healthy, Vocabulary(self.vocabulary.words[:size]))

    def summed(self, mechanism, bug: str, share: float, seed: int, users: Sequence[int] | None = None) -> Counter[str]:
        """The sum that a release would add noise to."""
        struck = Struck(self.users, self.healthy, share, seed, bug)
        everyone = Members(np.arange(len(self.users)), outside=self.vocabulary)
        return NamedWords(struck, everyone, mechanism, seed)({}, range(len(self.users)) if users is None else users, 1)

    def compare(self, mechanism, before: Counter[str], after: Counter[str]) -> list[Finding]:
        """What `compare` finds between a release of each."""
        sides = []
        for total in (before, after):
            released = ReleasedWords.from_bytes(mechanism.release(total))
            counts = dict(zip(released.words, released.weights, strict=True))
            sides.append(Released(counts, mechanism.noise_multiplier, mechanism.threshold))
        return word_findings(*sides, "before", "after", KnownWords(self.vocabulary.words))


def zoo(texts: dict[str, Text], mechanism, bugs: Sequence[str], shares: Sequence[float] | None, seeds: int) -> None:
    """Print what came first for every bug, share and seed, and a table of how often it was right."""
    rows, right, pairs = [], 0, 0
    healthy = {
        (name, seed): text.summed(mechanism, bugs[0], 0.0, seed)
        for name, text in texts.items()
        for seed in range(seeds)
    }
    for bug in bugs:
        expected, usual = ZOO[bug]
        column = "raw" if bug in OF_RAW_TEXT else "tokens"
        text = texts[column]
        for share in shares or usual:
            firsts = []
            for seed in range(seeds):
                after = text.summed(mechanism, bug, share, seed)
                found = text.compare(mechanism, healthy[column, seed], after)
                firsts.append(found[0].name if found else "nothing")
                said = f"{found[0].name} {found[0].strength:.2f}: {found[0].evidence}" if found else "nothing"
                print(f"{bug} {share:.0%} seed {seed}: {said}", flush=True)
            hits = firsts.count(expected)
            right, pairs = right + hits, pairs + seeds
            others = Counter(first for first in firsts if first != expected)
            told = ", ".join(f"{name} ({count})" for name, count in others.most_common()) or "-"
            rows.append(f"| `{bug}` | {share:.0%} | `{expected}` | {hits} of {seeds} | {told} |")
    print("\n| bug | sentences | right | comes first | instead |")
    print("|---|---|---|---|---|")
    print("\n".join([*rows, f"| all | | | {right} of {pairs} ({right / pairs:.0%}) | |"]))


def nulls(text: Text, mechanism, sizes: Sequence[int], pairs: int) -> None:
    """Print how many of so many pairs without a bug have a finding, in three ways of being healthy."""
    print("\n| vocabulary | words released | other noise | other order of words | other users |")
    print("|---|---|---|---|---|")
    for size in sizes:
        sized = text.resized(size)
        full, other = (sized.summed(mechanism, "join-first-tokens", 0.0, seed) for seed in (0, 1))
        found = Counter()
        for pair in range(pairs):
            found["noise"] += bool(sized.compare(mechanism, full, full))
            found["order"] += bool(sized.compare(mechanism, full, other))
            mixed = np.random.default_rng(pair).permutation(len(text.users))
            halves = (
                sized.summed(mechanism, "join-first-tokens", 0.0, 0, half.tolist()) for half in np.array_split(mixed, 2)
            )
            found["users"] += bool(sized.compare(mechanism, *halves))
        count = len(ReleasedWords.from_bytes(mechanism.release(full)).words)
        told = " | ".join(f"{found[way]} of {pairs}" for way in ("noise", "order", "users"))
        print(f"| {size:,} | {count} | {told} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shards", nargs="+")
    parser.add_argument("--column", default=TextFormat().column)
    parser.add_argument("--raw-column", default="text", help="of bugs of case, split at blanks")
    parser.add_argument("--vocabulary-size", type=int, default=10_000)
    parser.add_argument("--epsilon", type=float, default=4.0)
    parser.add_argument("--delta", type=float, default=1e-6)
    parser.add_argument("--words-per-user", type=int, default=WORDS_PER_USER)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--bugs", nargs="*", choices=ZOO, help="none: pairs without a bug only")
    parser.add_argument("--shares", type=float, nargs="+", help="of sentences with the bug, in place of the usual ones")
    parser.add_argument("--null-pairs", type=int, default=5, help="of each kind and size")
    parser.add_argument("--null-sizes", type=int, nargs="+", default=[10_000, 1_000, 200])
    arguments = parser.parse_args()

    bugs = list(ZOO) if arguments.bugs is None else arguments.bugs
    mechanism = training_at(arguments.epsilon, arguments.delta, arguments.words_per_user).mechanism
    texts = {"tokens": Text.read(arguments.shards, TextFormat(arguments.column), arguments.vocabulary_size)}
    if set(bugs) & set(OF_RAW_TEXT):
        texts["raw"] = Text.read(arguments.shards, TextFormat(arguments.raw_column), arguments.vocabulary_size)
    print(
        f"{len(texts['tokens'].users)} users, epsilon {arguments.epsilon:g}, noise {mechanism.noise_multiplier:.4g}, "
        f"threshold {mechanism.threshold:.1f}"
    )
    if bugs:
        zoo(texts, mechanism, bugs, arguments.shares, arguments.seeds)
    if arguments.null_pairs:
        nulls(texts["tokens"], mechanism, arguments.null_sizes, arguments.null_pairs)


if __name__ == "__main__":
    main()
