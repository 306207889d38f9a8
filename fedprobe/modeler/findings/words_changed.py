"""Words that appeared or vanished, where nothing more special is found."""

from collections.abc import Collection, Sequence

from scipy.stats import fisher_exact

from fedprobe.modeler.findings.explanation import most_often, shown_words
from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.findings.rise import rise, risen
from fedprobe.modeler.findings.sides import Drawn, Released, Side
from fedprobe.modeler.printable import one_line

APPEARED, VANISHED = "words-appeared", "words-vanished"
# Two models of one kind of data differ in how often they draw a word: it appeared if it comes so many times as often.
_TIMES = 5
# So many draws of a word, at least, are looked at.
_LEAST_DRAWS = 10
_LEVEL = 0.01
LEAST_STRENGTH = 0.01


def words_changed(
    a: Side, b: Side, a_name: str, b_name: str, questions: int, settled: Collection[str] = ()
) -> list[Finding]:
    """The words that appeared in `b`, and those that vanished from `a`; none between a release and a model.

    Words that are `settled` are left out. Strength: the share that they have on their side, less that on the other,
    with its interval.
    """
    found, confidence = [], 1 - 0.05 / questions
    for name, before, after, before_name, after_name in (
        (APPEARED, a, b, a_name, b_name),
        (VANISHED, b, a, b_name, a_name),
    ):
        words = [word for word in _new(before, after, questions) if word not in settled]
        if not words:
            continue
        mine, theirs = after.share(words, confidence), before.share(before.words & set(words), confidence)
        more = mine.more_than(theirs)
        if more.low <= LEAST_STRENGTH:
            continue
        those = "those of {}" if isinstance(before, Drawn) else before.of
        often = ", ".join(f'"{one_line(word)}"' for word in words[:3])
        says = f"{b_name} has words that {a_name} has not" if name == APPEARED else f"{b_name} lacks words of {a_name}"
        found.append(
            Finding(
                name,
                more.value,
                more.low,
                more.high,
                f"{says}, and no special cause explains most of them",
                f"{mine.value:.1%} of {after.of.format(after_name)}, "
                f"{theirs.value:.1%} of {those.format(before_name)}; {most_often(after, words)}: {often}",
                shown_words(before, after, (before_name, after_name), words),
            )
        )
    return found


def _new(before: Side, after: Side, questions: int) -> Sequence[str]:
    """The words that `after` has beyond all chance more of than `before`, the largest rise first."""
    if isinstance(before, Released) and isinstance(after, Released):
        differences = risen(before, after)
        if not rise(before, after, differences).is_beyond(questions):
            return []
        more = {word: difference for word, difference in differences.items() if difference > 0}
    elif isinstance(before, Drawn) and isinstance(after, Drawn) and before.drawn and after.drawn:
        more = _more_draws(before, after)
    else:
        return []
    return sorted(more, key=lambda word: (-more[word], word))


def _more_draws(before: Drawn, after: Drawn) -> dict[str, float]:
    often = {word: count for word, count in after.counts.items() if count >= _LEAST_DRAWS}
    more = {}
    for word, count in often.items():
        was, draws = before.counts[word], (len(before.drawn), len(after.drawn))
        if count / draws[1] > _TIMES * was / draws[0]:
            table = [[count, draws[1] - count], [was, draws[0] - was]]
            if fisher_exact(table, alternative="greater").pvalue < _LEVEL / len(often):
                more[word] = count / draws[1] - was / draws[0]
    return more
