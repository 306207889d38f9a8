"""Words out of vocabulary by position: one set of sentences has an excess of them somewhere."""

from collections.abc import Sequence

from fedprobe.modeler.findings.finding import Finding, difference_of_shares
from fedprobe.modeler.findings.shown import MOST_SENTENCES, ShownSentences
from fedprobe.modeler.text_sampling import OovProfile
from fedprobe.models.vocabulary import OOV

# Two models of one kind of data differ a little, too: a finding needs more than that.
LEAST_STRENGTH = 0.01
# Positions that fewer sentences reach say little.
LEAST_REACHED = 100


def oov_by_position(
    a: OovProfile,
    b: OovProfile,
    a_name: str,
    b_name: str,
    sentences: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]] = ((), ()),
) -> Finding | None:
    """Whether one side has more words out of vocabulary at some position, and at which the excess is clearest.

    Strength: the difference of the rates there, with Newcombe's interval at 95% over all positions together
    (Bonferroni). A finding is returned only where the whole interval lies above 0.01. Of both sides' `sentences` it
    shows some with such a word there.
    """
    positions = [
        position
        for position in range(min(len(a.reached), len(b.reached)))
        if min(a.reached[position], b.reached[position]) >= LEAST_REACHED
    ]
    found = []
    for one, other, name, other_name in ((b, a, b_name, a_name), (a, b, a_name, b_name)):
        for position in positions:
            difference = difference_of_shares(
                *(int(part[position]) for part in (one.oov, one.reached, other.oov, other.reached)),
                confidence=1 - 0.05 / (2 * len(positions)),
            )
            found.append((difference[1], difference, position, one, other, name, other_name))
    if not found:
        return None
    _, (strength, low, high), position, one, other, name, other_name = max(found, key=lambda entry: entry[0])
    if low <= LEAST_STRENGTH:
        return None
    return Finding(
        "oov-by-position",
        strength,
        low,
        high,
        f"{name} has more words out of vocabulary at position {position + 1} of its sentences than {other_name}",
        f"{one.rates[position]:.1%} of the words there are out of vocabulary, against {other.rates[position]:.1%}; "
        f"over all positions {one.overall:.1%} against {other.overall:.1%}",
        _shown(name, sentences[one is b], position),
    )


def _shown(name: str, sentences: Sequence[Sequence[int]], position: int) -> ShownSentences | None:
    there = [list(sentence) for sentence in sentences if len(sentence) > position and sentence[position] == OOV]
    return ShownSentences(name, there[:MOST_SENTENCES]) if there else None
