"""The sections of language models: words with what is known of each, sentences and their OOV rates by position."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedprobe.modeler.comparison import ComparisonError
from fedprobe.modeler.findings import LOOKED_FOR
from fedprobe.modeler.report.charts import Chart, oov_chart
from fedprobe.modeler.report.released import released_section
from fedprobe.modeler.report.verdict import Opened, Verdict
from fedprobe.modeler.report.words import PROBABILITY, WordList, WordsSection, cut, shown_word
from fedprobe.modeler.text_comparison import SHOWN_SENTENCES, ComparedWord, compare_sentences, compare_words
from fedprobe.modeler.text_sampling import (
    DRAWN_SENTENCES,
    DRAWN_WORDS,
    OovProfile,
    drawn_sentences,
    drawn_words,
    oov_by_position,
    top_words,
)
from fedprobe.modeler.word_table import WordTable

_MOST_DECIMALS = 4


@dataclass(frozen=True)
class SentencesSection:
    """Each run's OOV rates by position with some of its sentences, and what was tested."""

    names: Sequence[str]
    rates: Sequence[tuple[str, str]]
    chart: Chart | None
    sentences: Sequence[Sequence[str]]
    verdicts: Sequence[Verdict]
    note: str | None
    kind: str = "sentences"


def words_sections(opened: Sequence[Opened], count: int | None, top: int, seed: int) -> list[WordsSection]:
    """Tables of released words and models of words, apart where there are two of each to be held against each other."""
    tables = [one for one in opened if isinstance(one.sampler, WordTable)]
    models = [one for one in opened if one not in tables]
    if not tables:
        return [_words(models, count, top, seed)]
    released = [tables, models] if min(len(tables), len(models)) > 1 else [opened]
    sections = [released_section(released[0], count or DRAWN_WORDS, top, seed)]
    return sections + [_words(group, count, top, seed) for group in released[1:]]


def _words(opened: Sequence[Opened], count: int | None, top: int, seed: int) -> WordsSection:
    """Models of words: as `compare_words` has them, or where that cannot be, each one alone and why."""
    names = [one.name for one in opened]
    count = count or DRAWN_WORDS
    note = "One run alone is held against nothing: give the one before first, and this one after it."
    if len(opened) > 1:
        try:
            result = compare_words([one.sampler for one in opened], names, count, top, seed)
        except ComparisonError as error:
            note = _not_compared(error)
        else:
            shown = [
                [(word.word, word.probabilities[side]) for word in ranked] for side, ranked in enumerate(result.top)
            ]
            risen = [
                [shown_word(word.word), *figures, f"{word.log_ratio:+.1f}"]
                for word, figures in zip(result.risen, _aligned(result.risen), strict=True)
            ]
            verdict = Verdict(LOOKED_FOR["words"], names[0], names[-1], result.two_sample, result.findings)
            return WordsSection(
                [_list(name, words) for name, words in zip(names, shown, strict=True)],
                ["word", *names, "log ratio"],
                risen,
                [verdict],
                None,
            )
    lists = []
    for side, one in enumerate(opened):
        words = top_words(one.sampler, drawn_words(one.sampler, count, seed, purpose=f"words {side}"), top)
        lists.append(_list(one.name, [(word.word, word.joint_probability) for word in words]))
    return WordsSection(lists, [], [], [], note)


def sentences_sections(opened: Sequence[Opened], count: int | None, seed: int) -> list[SentencesSection]:
    """A section for every vocabulary: a word out of one may be in another, so rates compare only within one."""
    groups: dict[str, list[Opened]] = {}
    for one in opened:
        groups.setdefault(one.sampler.codec.digest, []).append(one)
    return [_sentences(group, count or DRAWN_SENTENCES, seed) for group in groups.values()]


def _sentences(opened: Sequence[Opened], count: int, seed: int) -> SentencesSection:
    names = [one.name for one in opened]
    note = "One run alone is held against nothing: give the one before first, and this one after it."
    if len(opened) > 1:
        try:
            result = compare_sentences([one.sampler for one in opened], names, count, seed)
        except ComparisonError as error:
            note = _not_compared(error)
        else:
            verdict = Verdict(LOOKED_FOR["sentences"], names[0], names[-1], result.two_sample, result.findings)
            return _shown(names, result.profiles, result.sentences, [verdict], None)
    drawn = [drawn_sentences(one.sampler, count, seed, purpose=f"sentences {side}") for side, one in enumerate(opened)]
    texts = [
        [one.sampler.codec.decode(sentence) for sentence in sentences if sentence][:SHOWN_SENTENCES]
        for one, sentences in zip(opened, drawn, strict=True)
    ]
    return _shown(names, [oov_by_position(sentences) for sentences in drawn], texts, [], note)


def _shown(
    names: Sequence[str],
    profiles: Sequence[OovProfile],
    sentences: Sequence[Sequence[list[str]]],
    verdicts: Sequence[Verdict],
    note: str | None,
) -> SentencesSection:
    rates = []
    for name, profile in zip(names, profiles, strict=True):
        low, high = profile.overall_interval
        rates.append((name, f"{profile.overall:.2%} ± {(high - low) / 2:.2%}"))
    lines = [[cut(" ".join(sentence)) for sentence in some] for some in sentences]
    return SentencesSection(names, rates, oov_chart(names, profiles), lines, verdicts, note)


def _not_compared(error: ComparisonError) -> str:
    return f"Not compared: {error}."


def _list(name: str, words: Sequence[tuple[str, float]]) -> WordList:
    figures = _thousandths([probability for _, probability in words])
    return WordList(name, PROBABILITY, [(shown_word(word), one) for (word, _), one in zip(words, figures, strict=True)])


def _aligned(risen: Sequence[ComparedWord]) -> list[list[str]]:
    """A row a word of its probabilities in every run, in units of 1e-3."""
    together = _thousandths([probability for word in risen for probability in word.probabilities])
    runs = len(together) // max(1, len(risen))
    return [together[row * runs : (row + 1) * runs] for row in range(len(risen))]


def _thousandths(probabilities: Sequence[float]) -> list[str]:
    """Probabilities in units of 1e-3, with as many decimals each, so that they stand one under the other."""
    values = [1000 * probability for probability in probabilities]
    least = min((value for value in values if value > 0), default=1.0)
    decimals = min(_MOST_DECIMALS, max(0, 2 - math.floor(math.log10(least))))
    return [f"{value:.{decimals}f}" if value >= 10**-decimals or not value else f"{value:.0e}" for value in values]
