"""What is wrong with the words of one side: every cause held against both sides, the best explanation first.

Two sides differ a little without a bug, too, and some words look like the work of a bug that never was. So a cause is
a finding only if

1. one side has more of its words than the other, beyond noise (`rise.py`) or sampling, for all causes together;
2. it explains more of what rose than chance does: than of the rare words of the vocabulary, and of the other side's.

Causes are then ranked by how much of what rose they explain beyond chance. Of those that explain it about as well, the
more special one counts, and what it explains is not asked about again: that the same words look like two kinds of
damage is one finding.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from scipy.stats import binomtest

from fedprobe.modeler.findings.case import CASE_CHANGED, CASE_LOST
from fedprobe.modeler.findings.cause import Cause
from fedprobe.modeler.findings.encoding_damage import ENCODING_DAMAGE
from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.findings.invisible_characters import INVISIBLE_CHARACTERS
from fedprobe.modeler.findings.joined_tokens import JOINED_TOKENS, RUN_TOGETHER
from fedprobe.modeler.findings.known_words import KnownWords
from fedprobe.modeler.findings.letters_changed import LETTERS_CHANGED
from fedprobe.modeler.findings.markup_left import MARKUP_LEFT
from fedprobe.modeler.findings.placeholders import PLACEHOLDERS
from fedprobe.modeler.findings.punctuation_glued import PUNCTUATION_GLUED
from fedprobe.modeler.findings.repeated_tokens import REPEATED_TOKENS
from fedprobe.modeler.findings.rise import rise, risen
from fedprobe.modeler.findings.script_shift import SCRIPT_SHIFT
from fedprobe.modeler.findings.sides import Drawn, Released, Share, Side
from fedprobe.modeler.findings.tokens_split import TOKENS_SPLIT
from fedprobe.modeler.findings.truncation import BEGINNING_LOST, TRUNCATION
from fedprobe.modeler.findings.words_changed import words_changed
from fedprobe.modeler.printable import one_line

# The more special ones first.
CAUSES = (
    *(JOINED_TOKENS, INVISIBLE_CHARACTERS, ENCODING_DAMAGE, MARKUP_LEFT, PLACEHOLDERS, SCRIPT_SHIFT),
    *(CASE_LOST, CASE_CHANGED, REPEATED_TOKENS, PUNCTUATION_GLUED, RUN_TOGETHER, TOKENS_SPLIT),
    *(TRUNCATION, BEGINNING_LOST, LETTERS_CHANGED),
)
# Two models of one kind of data differ a little, too: a finding needs more than that, and more than a part of what
# the other side has.
LEAST_STRENGTH = 0.01
LEAST_RISE = 0.2
# A cause that explains less than this of what rose, beyond chance, is no explanation of it.
LEAST_EXPLAINED = 0.1
# Causes that explain as much but for this are told apart by which is the more special one.
ABOUT_AS_WELL = 0.1
# All causes on both sides, and words that appeared or vanished.
_QUESTIONS = 2 * len(CAUSES) + 2
CONFIDENCE = 1 - 0.05 / _QUESTIONS


def word_findings(a: Side, b: Side, a_name: str, b_name: str, known: KnownWords | None = None) -> list[Finding]:
    """What is wrong with the words of `b`, or of `a`; the best explanation first, and none where nothing stands out.

    `known` has the vocabulary that words were outside of, if it is known. `a` is the healthy side, or the one before.
    """
    known = known or KnownWords()
    found: list[tuple[float, Finding]] = []
    for other, side, other_name, name in ((a, b, a_name, b_name), (b, a, b_name, a_name)):
        # What a model draws may be its noise; what was released are words that many have.
        others = other.words if isinstance(other, Released) else ()
        sound = KnownWords(known.vocabulary, known.others.union(others))
        for explanation in _explanations(_Pair(other, side, sound)):
            cause = explanation.cause
            if side is a and cause.mirror is not None:
                cause = cause.mirror
            found.append((explanation.of_all, explanation.finding(cause, other_name, name)))
    ranked = [finding for _, finding in sorted(found, key=lambda entry: -entry[0])]
    firsts = {finding.name: finding for finding in reversed(ranked)}
    named = [finding for finding in ranked if firsts[finding.name] is finding]
    return named or words_changed(a, b, a_name, b_name, _QUESTIONS, CONFIDENCE)


@dataclass(frozen=True)
class _Pair:
    """Two sides, of which `side` is asked what it has more of than `other`, and the words that are `known`."""

    other: Side
    side: Side
    known: KnownWords

    @cached_property
    def risen(self) -> dict[str, float] | None:
        """Between releases, the words that rose and how much; None where shares of draws are all there is."""
        if not (isinstance(self.other, Released) and isinstance(self.side, Released)):
            return None
        return {word: more for word, more in risen(self.other, self.side).items() if more > 0}


@dataclass(frozen=True)
class _Explanation:
    """The words that `cause` explains on either side, those apart that a better one explains (`mine`, `theirs`)."""

    pair: _Pair
    cause: Cause
    mine: frozenset[str]
    theirs: frozenset[str]
    settled: frozenset[str] = frozenset()

    @classmethod
    def of(cls, pair: _Pair, cause: Cause) -> "_Explanation":
        mine, theirs = (frozenset(cause.explained(side.words, pair.known)) for side in (pair.side, pair.other))
        return cls(pair, cause, mine, theirs)

    def without(self, other: "_Explanation") -> "_Explanation":
        return replace(
            self,
            mine=self.mine - other.mine,
            theirs=self.theirs - other.theirs,
            settled=self.settled | other.mine,
        )

    @cached_property
    def shares(self) -> tuple[Share, Share]:
        """The share on the side that is asked about, and on the other."""
        return self.pair.side.share(self.mine, CONFIDENCE), self.pair.other.share(self.theirs, CONFIDENCE)

    @cached_property
    def more(self) -> Share:
        return self.shares[0].more_than(self.shares[1])

    @cached_property
    def is_beyond_noise(self) -> bool:
        """Whether there is more of it than noise or sampling, and two models of one kind of data, explain."""
        pair, theirs = self.pair, self.shares[1].value
        if isinstance(pair.other, Drawn):
            return self.more.low > LEAST_STRENGTH + LEAST_RISE * theirs
        if self.more.low <= LEAST_STRENGTH or pair.risen is None or (self.cause.unheard_of and not self.theirs):
            return self.more.low > LEAST_STRENGTH
        return rise(pair.other, pair.side, self.mine | self.theirs).is_beyond(_QUESTIONS)

    @property
    def is_explanation(self) -> bool:
        """Whether it is beyond noise, and explains a part of what rose that is worth naming, if not by chance."""
        if not self.is_beyond_noise or self.beyond_chance <= 0:
            return False
        return self.pair.risen is None or self.of_all >= LEAST_EXPLAINED

    @cached_property
    def beyond_chance(self) -> float:
        """How much it explains of what rose and is not settled yet, from 0 for as much as chance to 1 for all."""
        if self.pair.risen is None:
            return self.more.value / (1 - self.shares[1].value)
        left = {word: more for word, more in self.pair.risen.items() if word not in self.settled}
        explained = sum(more for word, more in left.items() if word in self.mine)
        if not explained:
            return 0.0
        chance = max(self.shares[1].value, self._by_chance)
        # As many words of one size have as much chance to be explained.
        count = max(1, round(sum(left.values()) ** 2 / sum(more**2 for more in left.values())))
        share = explained / sum(left.values())
        least = binomtest(round(count * share), count).proportion_ci(0.95, method="wilson").low
        return (share - chance) / (1 - chance) if least > chance else 0.0

    @property
    def of_all(self) -> float:
        """What it explains beyond chance, of all that rose."""
        if self.pair.risen is None:
            return self.beyond_chance
        unsettled = sum(more for word, more in self.pair.risen.items() if word not in self.settled)
        return self.beyond_chance * unsettled / sum(self.pair.risen.values())

    @cached_property
    def _by_chance(self) -> float:
        rare = self.pair.known.rare
        return len(self.cause.explained(rare, self.pair.known)) / len(rare) if rare else 0.0

    def finding(self, cause: Cause, other_name: str, name: str) -> Finding:
        """What to say of it; `cause` names it."""
        side, other = self.pair.side, self.pair.other
        often = sorted(self.mine, key=lambda word: (-side.weight(word), word))[:3]
        quoted = ", ".join(f'"{one_line(word)}"' for word in often)
        those = "those of {}" if type(side) is type(other) else other.of
        return Finding(
            cause.name,
            self.more.value,
            self.more.low,
            self.more.high,
            f"{name} has {cause.has}; {other_name} has fewer",
            f"{self.shares[0].value:.1%} of {side.of.format(name)}, {self.shares[1].value:.1%} of "
            f"{those.format(other_name)}; most often: {quoted}",
        )


def _explanations(pair: _Pair) -> list[_Explanation]:
    """The best explanation of what rose, the best of what it leaves, and so on."""
    causes, chosen = [_Explanation.of(pair, cause) for cause in CAUSES], []
    while True:
        able = [one for one in causes if one.is_explanation]
        if not able:
            return chosen
        best = max(one.beyond_chance for one in able)
        taken = next(one for one in able if one.beyond_chance >= best - ABOUT_AS_WELL)
        chosen.append(taken)
        causes = [one.without(taken) for one in causes if one.cause is not taken.cause]
