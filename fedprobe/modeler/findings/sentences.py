"""What is wrong with sentences, apart from where their words are out of vocabulary."""

from collections.abc import Sequence

from fedprobe.modeler.findings.finding import Finding, difference_of_shares
from fedprobe.modeler.findings.shown import MOST_SENTENCES, ShownSentences
from fedprobe.models.vocabulary import OOV

# Two models of one kind of data differ a little, too: a finding needs more than that, and more than a part of what
# the other side has.
LEAST_STRENGTH = 0.02
LEAST_RISE = 0.2
# Two kinds of cause, on either side.
_CONFIDENCE = 1 - 0.05 / 4
# A side ends early if hardly any of its sentences, this share, is longer than so many words.
_HARDLY_ANY = 0.01

Sentences = Sequence[Sequence[int]]


def sentence_findings(a: Sentences, b: Sentences, a_name: str, b_name: str) -> list[Finding]:
    """What sentences of the one side, as ids of words, have more often than the other's; the strongest first.

    `repeated-tokens`: the share of words that are the same as the one before. `truncation`: the share of the other
    side's sentences that are longer than hardly any is here. Strength is the difference of the shares, with Newcombe's
    interval at 95% over all that is asked.
    """
    found = [
        finding for ask in (_repeated, _cut_off) for finding in (ask(a, b, a_name, b_name), ask(b, a, b_name, a_name))
    ]
    return sorted(filter(None, found), key=lambda finding: -finding.strength)


def _repeated(other: Sentences, side: Sentences, other_name: str, name: str) -> Finding | None:
    counts = [*_in_a_row(side), *_in_a_row(other)]
    if not (counts[1] and counts[3]):
        return None
    strength, low, high = difference_of_shares(*counts, confidence=_CONFIDENCE)
    mine, theirs = counts[0] / counts[1], counts[2] / counts[3]
    if low <= LEAST_STRENGTH + LEAST_RISE * theirs:
        return None
    return Finding(
        "repeated-tokens",
        strength,
        low,
        high,
        f"{name} has the same word twice in a row more often than {other_name}",
        f"{mine:.1%} of the words after another in {name}, {theirs:.1%} in {other_name}",
        _shown(name, sorted(side, key=lambda sentence: -_in_a_row([sentence])[0])),
    )


def _cut_off(other: Sentences, side: Sentences, other_name: str, name: str) -> Finding | None:
    if not (side and other):
        return None
    lengths = sorted(map(len, side))
    limit = lengths[int((1 - _HARDLY_ANY) * (len(lengths) - 1))]
    longer = [sum(len(sentence) > limit for sentence in sentences) for sentences in (other, side)]
    strength, low, high = difference_of_shares(longer[0], len(other), longer[1], len(side), confidence=_CONFIDENCE)
    # Models end a little sooner or later, too.
    if low <= LEAST_STRENGTH + LEAST_RISE:
        return None
    return Finding(
        "truncation",
        strength,
        low,
        high,
        f"{name} has sentences that end early; {other_name} goes on",
        f"{longer[0] / len(other):.1%} of the sentences of {other_name} have more than {limit} words, "
        f"{longer[1] / len(side):.1%} of those of {name}",
        _shown(name, sorted(side, key=lambda sentence: abs(len(sentence) - limit))),
    )


def _shown(name: str, sentences: Sentences) -> ShownSentences:
    return ShownSentences(name, [list(sentence) for sentence in sentences[:MOST_SENTENCES]])


def _in_a_row(sentences: Sentences) -> tuple[int, int]:
    """How many words are the same as the one before, and of how many; where either is out of vocabulary, who knows."""
    pairs = [
        (one, two)
        for sentence in sentences
        for one, two in zip(sentence, sentence[1:], strict=False)
        if OOV not in (one, two)
    ]
    return sum(one == two for one, two in pairs), len(pairs)
