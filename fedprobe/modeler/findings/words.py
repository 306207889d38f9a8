"""What is wrong with the words of one side: every cause held against both sides, the best explanation first.

Two sides differ a little without a bug, too, and some words look like the work of a bug that never was. So a cause is
a finding only if

1. one side has more of its words than the other, beyond noise (`rise.py`) or sampling, for all causes together;
2. it explains more of what rose than chance does: than of the rare words of the vocabulary, and of the other side's.

The cause comes first that explains most of what rose beyond chance. Of those that explain it about as well, the more
special one counts, and what it explains is not asked about again: that the same words look like two kinds of damage is
one finding.
"""

from collections.abc import Collection, Sequence

from fedprobe.modeler.findings.case import CASE_CHANGED, CASE_LOST
from fedprobe.modeler.findings.encoding_damage import ENCODING_DAMAGE
from fedprobe.modeler.findings.explanation import Explanation, Pair
from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.findings.invisible_characters import INVISIBLE_CHARACTERS
from fedprobe.modeler.findings.joined_tokens import JOINED_TOKENS, RUN_TOGETHER
from fedprobe.modeler.findings.known_words import KnownWords
from fedprobe.modeler.findings.language_shift import LANGUAGE_SHIFT
from fedprobe.modeler.findings.letters_changed import LETTERS_CHANGED, LETTERS_MIXED
from fedprobe.modeler.findings.markup_left import MARKUP_LEFT
from fedprobe.modeler.findings.placeholders import PLACEHOLDERS
from fedprobe.modeler.findings.punctuation_glued import PUNCTUATION_GLUED
from fedprobe.modeler.findings.repeated_tokens import REPEATED_TOKENS
from fedprobe.modeler.findings.script_shift import SCRIPT_SHIFT
from fedprobe.modeler.findings.sides import Released, Side
from fedprobe.modeler.findings.tokens_split import TOKENS_SPLIT
from fedprobe.modeler.findings.truncation import BEGINNING_LOST, TRUNCATION
from fedprobe.modeler.findings.words_changed import APPEARED, words_changed

# The more special ones first.
CAUSES = (
    *(JOINED_TOKENS, ENCODING_DAMAGE, INVISIBLE_CHARACTERS, MARKUP_LEFT, PLACEHOLDERS, SCRIPT_SHIFT),
    *(LANGUAGE_SHIFT, CASE_LOST, CASE_CHANGED, REPEATED_TOKENS, PUNCTUATION_GLUED, RUN_TOGETHER),
    *(TOKENS_SPLIT, TRUNCATION, BEGINNING_LOST, LETTERS_CHANGED, LETTERS_MIXED),
)
# A cause that explains as much as the best one but for this part of it is told from it by which is the more special.
ABOUT_AS_WELL = 0.1
# Where causes leave more of it unexplained than this, they are not what it is about: words appeared.
MOST_LEFT = 0.5
# All causes on both sides, and words that appeared or vanished.
QUESTIONS = 2 * len(CAUSES) + 2


def word_findings(a: Side, b: Side, a_name: str, b_name: str, known: KnownWords | None = None) -> list[Finding]:
    """What is wrong with the words of `b`, or of `a`; the best explanation first, and none where nothing stands out.

    `known` has the vocabulary that words were outside of, if it is known. `a` is the healthy side, or the one before.
    """
    known = known or KnownWords()
    pairs = [_pair(a, b, known), _pair(b, a, known)]
    explanations = _explanations(pairs)
    settled = {word for explanation in explanations for word in explanation.mine | explanation.theirs}
    found: dict[str, Finding] = {}
    if explanations and _share_left(pairs[0], settled) > MOST_LEFT:
        changed = words_changed(a, b, a_name, b_name, QUESTIONS, settled)
        found = {finding.name: finding for finding in changed if finding.name == APPEARED}
    for explanation in explanations:
        mirrored, cause = explanation.pair.side is a, explanation.cause
        if mirrored and cause.mirror is not None:
            cause = cause.mirror
        names = (b_name, a_name) if mirrored else (a_name, b_name)
        found.setdefault(cause.name, explanation.finding(cause, *names))
    return list(found.values()) or words_changed(a, b, a_name, b_name, QUESTIONS)


def _pair(other: Side, side: Side, known: KnownWords) -> Pair:
    # What a model draws may be its noise; what was released are words that many have.
    others = other.words if isinstance(other, Released) else ()
    return Pair(other, side, KnownWords(known.vocabulary, known.others.union(others)), QUESTIONS)


def _share_left(pair: Pair, settled: Collection[str]) -> float:
    """How much of what rose between releases no explanation settles."""
    risen = pair.risen or {}
    left = sum(more for word, more in risen.items() if word not in settled)
    return left / sum(risen.values()) if risen else 0.0


def _explanations(pairs: Sequence[Pair]) -> list[Explanation]:
    """The best explanation of what rose, the best of what it leaves, and so on."""
    left, chosen = [Explanation.of(pair, cause) for cause in CAUSES for pair in pairs], []
    while best := max((one.explained for one in left), default=0.0):
        taken = next(one for one in left if one.explained >= (1 - ABOUT_AS_WELL) * best)
        chosen.append(taken)
        left = [one.after(taken) for one in left if one is not taken]
    return chosen
