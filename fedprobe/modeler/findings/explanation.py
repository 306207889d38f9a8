"""How well a cause explains what changed between two sides' words: beyond noise, and beyond chance."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

from scipy.stats import binomtest

from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.findings.known_words import KnownWords
from fedprobe.modeler.findings.rise import rise, risen
from fedprobe.modeler.findings.shown import MOST_WORDS, ShownWords
from fedprobe.modeler.findings.sides import Drawn, Released, Share, Side
from fedprobe.modeler.printable import one_line

# Two models of one kind of data differ a little, too: a finding needs more than that, and of what is drawn from them
# more than a part of what the other side has.
LEAST_STRENGTH = 0.01
LEAST_RISE = 0.2
# A cause that explains less than this of what rose in a release, beyond chance, is no explanation of it.
LEAST_EXPLAINED = 0.1


@dataclass(frozen=True)
class Pair:
    """Two sides, of which `side` is asked what it has more of than `other`; the words that are `known` to be sound.

    So many `questions` are asked of the two together.
    """

    other: Side
    side: Side
    known: KnownWords
    questions: int

    @property
    def confidence(self) -> float:
        """Of each interval, so that all of them hold at 95%."""
        return 1 - 0.05 / self.questions

    @cached_property
    def risen(self) -> dict[str, float] | None:
        """Between releases, the words that rose and how much; None where shares of draws are all there is."""
        if not (isinstance(self.other, Released) and isinstance(self.side, Released)):
            return None
        return {word: more for word, more in risen(self.other, self.side).items() if more > 0}


@dataclass(frozen=True)
class Explanation:
    """The words of either side that `cause` explains (`mine`, `theirs`), without those that are `settled`."""

    pair: Pair
    cause: Cause
    mine: frozenset[str]
    theirs: frozenset[str]
    settled: frozenset[str] = frozenset()

    @classmethod
    def of(cls, pair: Pair, cause: Cause) -> "Explanation":
        mine, theirs = (frozenset(cause.explained(side.words, pair.known)) for side in (pair.side, pair.other))
        return cls(pair, cause, mine, theirs)

    def after(self, other: "Explanation") -> "Explanation":
        """What is left to explain where `other` is settled."""
        words = other.mine | other.theirs
        return replace(self, mine=self.mine - words, theirs=self.theirs - words, settled=self.settled | words)

    @cached_property
    def shares(self) -> tuple[Share, Share]:
        """The share on the side that is asked about, and on the other."""
        return _share(self.pair.side, self.mine, self.pair), _share(self.pair.other, self.theirs, self.pair)

    @cached_property
    def more(self) -> Share:
        return self.shares[0].more_than(self.shares[1])

    @cached_property
    def more_of_the_rest(self) -> Share:
        """As `more`, of what is not settled: where some words are drawn more, all others are drawn less."""
        side, other = (one.without(self.settled) for one in (self.pair.side, self.pair.other))
        return _share(side, self.mine, self.pair).more_than(_share(other, self.theirs, self.pair))

    @cached_property
    def is_beyond_noise(self) -> bool:
        """Whether there is more of it than noise or sampling, and two models of one kind of data, explain."""
        pair = self.pair
        if pair.risen is None:
            slack = LEAST_RISE * self.shares[1].value if isinstance(pair.other, Drawn) else 0.0
            return min(self.more.low, self.more_of_the_rest.low) > LEAST_STRENGTH + slack
        if self.more.low <= LEAST_STRENGTH or (self.cause.unheard_of and not self.theirs):
            return self.more.low > LEAST_STRENGTH
        return rise(pair.other, pair.side, self.mine | self.theirs).is_beyond(pair.questions)

    @cached_property
    def explained(self) -> float:
        """How much of what is not settled it explains beyond chance; 0 where it is no explanation.

        Of releases in counts, and only what is a part of all that rose worth naming; of draws in shares.
        """
        if not self.is_beyond_noise:
            return 0.0
        if self.pair.risen is None:
            return self.more_of_the_rest.value
        left = {word: more for word, more in self.pair.risen.items() if word not in self.settled}
        rest, by_it = sum(left.values()), sum(more for word, more in left.items() if word in self.mine)
        if not by_it:
            return 0.0
        chance = max(self.shares[1].value, self._by_chance)
        # As many words of one size have as much chance to be explained.
        count = max(1, round(rest**2 / sum(more**2 for more in left.values())))
        least = binomtest(round(count * by_it / rest), count).proportion_ci(0.95, method="wilson").low
        amount = (by_it - chance * rest) / (1 - chance) if least > chance else 0.0
        return amount if amount >= LEAST_EXPLAINED * sum(self.pair.risen.values()) else 0.0

    @cached_property
    def _by_chance(self) -> float:
        """How many of the rare words of the vocabulary look as if the cause had made them."""
        rare = self.pair.known.rare
        return len(self.cause.explained(rare, self.pair.known)) / len(rare) if rare else 0.0

    def finding(self, cause: Cause, other_name: str, name: str) -> Finding:
        """What to say of it; `cause` names it."""
        side, other = self.pair.side, self.pair.other
        often = sorted(self.mine, key=lambda word: (-side.weight(word), word))[:3]
        quoted = ", ".join(f'"{one_line(word)}"' for word in often)
        those = "those of {}" if isinstance(other, Drawn) and isinstance(side, Drawn) else other.of
        return Finding(
            cause.name,
            self.more.value,
            self.more.low,
            self.more.high,
            f"{name} has {cause.has}; {other_name} has fewer",
            f"{self.shares[0].value:.1%} of {side.of.format(name)}, {self.shares[1].value:.1%} of "
            f"{those.format(other_name)}; {most_often(side, self.mine)}: {quoted}",
            shown_words(other, side, (other_name, name), self.mine),
        )


def most_often(side: Side, words: Collection[str]) -> str:
    """What to say before examples that come first by how often `side` has them: it may have each of them as often."""
    return "most often" if len({side.weight(word) for word in words}) > 1 else "such as"


def shown_words(other: Side, side: Side, names: tuple[str, str], words: Collection[str]) -> ShownWords:
    """Those of `words` that `side` has most more of than `other`, with what either has; a release may not have one."""
    ranked = sorted(words, key=lambda word: (other.weight(word) - side.weight(word), word))[:MOST_WORDS]
    figures = [tuple(one.weight(word) if word in one.words else one.none for one in (other, side)) for word in ranked]
    of = side.figure if side.figure == other.figure else f"{other.figure} > {side.figure}"
    return ShownWords(names, of, ranked, figures)


def _share(side: Side, words: Collection[str], pair: Pair) -> Share:
    return side.share(words, pair.confidence)
