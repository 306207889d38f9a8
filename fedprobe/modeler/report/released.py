"""The section of words that were released once, with their noised counts; models of words may stand beside them."""

from collections.abc import Sequence

from fedprobe.modeler.findings import LOOKED_FOR
from fedprobe.modeler.report.verdict import Opened, Verdict
from fedprobe.modeler.report.words import PROBABILITY, WordList, WordsSection, shown_word
from fedprobe.modeler.word_table import WordTable
from fedprobe.modeler.word_table_comparison import RankedWord, RisenWord, compare_word_tables

COUNT = "noised count"
_SAYS = (
    "The words that many users have, with their noised counts and 95% intervals. A user adds at most 1 to the count of "
    "a word, so that no fewer users have it. A word that is not here is not above the threshold, or nowhere."
)
_MIXED = "Of a model, its most probable words."
_RISEN_SAYS = (
    "noised counts, and the least that noise leaves of the rise, at 95% for each word alone; the count of a word that "
    "was not released was at most the threshold"
)


def released_section(opened: Sequence[Opened], count: int, top: int, seed: int) -> WordsSection:
    """Tables of released words, and models of which `count` words are drawn, as `compare_word_tables` has them."""
    names, sides = [one.name for one in opened], [one.sampler for one in opened]
    result = compare_word_tables(sides, names, count, top, seed)
    alone = len(opened) == 1
    note = "One run alone is held against nothing: give the one before first, and this one after it."
    return WordsSection(
        [_list(*one) for one in zip(names, sides, result.ranked, strict=True)],
        ["word", names[0], names[-1], "rose by at least"],
        [] if alone else [_risen(word, sides[0]) for word in result.risen],
        [] if alone or result.nothing else [Verdict(LOOKED_FOR["words"], names[0], names[-1], None, result.findings)],
        note if alone else result.nothing,
        _SAYS if all(isinstance(side, WordTable) for side in sides) else f"{_SAYS} {_MIXED}",
        _RISEN_SAYS,
    )


def _list(name: str, side: object, ranked: Sequence[RankedWord]) -> WordList:
    if not isinstance(side, WordTable):
        rows = [(shown_word(word.word), f"{1000 * word.probability:.3g}") for word in ranked]
        return WordList(name, PROBABILITY, rows)
    margins = {word.word: word.margin for word in side.words[: len(ranked)]}
    rows = [(shown_word(word.word), f"{word.count:.1f} ± {margins[word.word]:.1f}") for word in ranked]
    released = f"{len(side.words):,} words were" if len(side.words) != 1 else "1 word was"
    if not side.words:
        return WordList(name, COUNT, [], f"No word was released: none is above the threshold of {side.threshold:.1f}.")
    return WordList(name, COUNT, rows, f"{released} released, above a threshold of {side.threshold:.1f}.")


def _risen(word: RisenWord, before: WordTable) -> list[str]:
    was, now = word.counts
    least = f"{word.least_rise:.1f}" if word.least_rise > 0 else "nothing sure"
    return [shown_word(word.word), f"≤ {before.threshold:.1f}" if was is None else f"{was:.1f}", f"{now:.1f}", least]
