"""Language models side by side: top words, words that rose, out-of-vocabulary rates by position, findings.

Everything here is made of synthetic samples and released parameters: post-processing, at no cost in privacy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sklearn.feature_extraction.text import HashingVectorizer

from fedprobe.modeler.comparison import ComparisonError
from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.findings.known_words import known_to
from fedprobe.modeler.findings.oov_by_position import oov_by_position as oov_finding
from fedprobe.modeler.findings.sentences import sentence_findings
from fedprobe.modeler.findings.shown import ShownSentences, ShownWords
from fedprobe.modeler.findings.sides import Drawn
from fedprobe.modeler.findings.words import word_findings
from fedprobe.modeler.text_sampling import (
    OovProfile,
    TextSampler,
    drawn_sentences,
    drawn_words,
    oov_by_position,
    scored,
    top_words,
)
from fedprobe.modeler.two_sample import TwoSample, two_sample_tests

TESTED = 1000
SHOWN_SENTENCES = 8
_FEATURES = 512
# Words that rose are looked for among so many of each run's most probable ones.
_CANDIDATES = 500


@dataclass(frozen=True)
class ComparedWord:
    """A word's exact joint probability in each of the runs, and ln of the last over the first."""

    word: str
    probabilities: tuple[float, ...]
    log_ratio: float


@dataclass(frozen=True)
class WordsComparison:
    """Models of words: each one's `top` words, and those whose probability rose most from the first to the last."""

    names: Sequence[str]
    top: Sequence[Sequence[ComparedWord]]
    risen: Sequence[ComparedWord]
    two_sample: TwoSample
    findings: Sequence[Finding]


@dataclass(frozen=True)
class SentencesComparison:
    """Models of sentences: each one's OOV rates by position, and some of its sentences (UNK for OOV words)."""

    names: Sequence[str]
    profiles: Sequence[OovProfile]
    sentences: Sequence[Sequence[list[str]]]
    two_sample: TwoSample
    findings: Sequence[Finding]


def compare_words(
    samplers: Sequence[TextSampler], names: Sequence[str], count: int, top: int, seed: int = 0
) -> WordsComparison:
    """Compare models of words on `count` words drawn from each; the first is the healthy one, or the one before.

    Test and findings hold the last against the first. Raises ComparisonError where a model makes too few whole words.
    """
    drawn = [drawn_words(sampler, count, seed, purpose=f"words {side}") for side, sampler in enumerate(samplers)]
    if min(map(len, drawn)) < TESTED // 10:
        raise ComparisonError("a model hardly makes whole words yet; train it for more rounds, or draw more with -n")
    likely = max(top, _CANDIDATES)
    ranked = [top_words(sampler, words, likely) for sampler, words in zip(samplers, drawn, strict=True)]
    compared = _compared(samplers, [word.ids for words in ranked for word in words])
    texts = [[sampler.codec.decode(word) for word in words] for sampler, words in zip(samplers, drawn, strict=True)]
    first, last = texts[0], texts[-1]
    ids = dict(zip(first + last, drawn[0] + drawn[-1], strict=True))
    known = known_to(sampler.run for sampler in samplers)
    risen = sorted(compared.values(), key=lambda word: word.probabilities[0] - word.probabilities[-1])
    return WordsComparison(
        names,
        [[compared[word.ids] for word in words[:top]] for words in ranked],
        [word for word in risen[:top] if word.log_ratio > 0],
        _test(first, last, "char"),
        [
            _with_probabilities(finding, {names[0]: samplers[0], names[-1]: samplers[-1]}, ids)
            for finding in word_findings(Drawn(first), Drawn(last), names[0], names[-1], known)
        ],
    )


def compare_sentences(
    samplers: Sequence[TextSampler], names: Sequence[str], count: int, seed: int = 0
) -> SentencesComparison:
    """Compare models of sentences on `count` sentences drawn from each; otherwise like `compare_words`.

    Raises ComparisonError where their vocabularies differ: a word out of one may be in the other.
    """
    if len({sampler.codec.digest for sampler in samplers}) > 1:
        raise ComparisonError("the runs have different vocabularies, so their OOV rates cannot be compared")
    drawn = [
        drawn_sentences(sampler, count, seed, purpose=f"sentences {side}") for side, sampler in enumerate(samplers)
    ]
    profiles = [oov_by_position(sentences) for sentences in drawn]
    texts = [
        [sampler.codec.decode(sentence) for sentence in sentences if sentence]
        for sampler, sentences in zip(samplers, drawn, strict=True)
    ]
    if min(map(len, texts)) < TESTED // 10:
        raise ComparisonError("a model hardly makes sentences yet; train it for more rounds, or draw more with -n")
    # Beginnings are marked, so that what happens at the first position can be told apart.
    marked = [["^ " + " ".join(sentence) for sentence in text] for text in texts]
    found = [
        oov_finding(profiles[0], profiles[-1], names[0], names[-1], (drawn[0], drawn[-1])),
        *sentence_findings(drawn[0], drawn[-1], names[0], names[-1]),
    ]
    return SentencesComparison(
        names,
        profiles,
        [text[:SHOWN_SENTENCES] for text in texts],
        _test(marked[0], marked[-1], "word"),
        [_decoded(finding, samplers[0]) for finding in _strongest(found)],
    )


def _compared(samplers: Sequence[TextSampler], words: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], ComparedWord]:
    """Each of `words` (ids) with its exact probability under every model."""
    distinct = list(dict.fromkeys(words))
    compared = {}
    for row in zip(*(scored(sampler, distinct) for sampler in samplers), strict=True):
        ratio = row[-1].log_probability - row[0].log_probability
        compared[row[0].ids] = ComparedWord(row[0].word, tuple(one.joint_probability for one in row), ratio)
    return compared


def _with_probabilities(
    finding: Finding, samplers: Mapping[str, TextSampler], ids: Mapping[str, Sequence[int]]
) -> Finding:
    """The finding with the exact joint probability of the words that it shows, in place of shares of draws."""
    shown = finding.shown
    if not isinstance(shown, ShownWords):
        return finding
    words = [ids[word] for word in shown.words]
    sides = ([word.joint_probability for word in scored(samplers[run], words)] for run in shown.runs)
    figures = list(zip(*sides, strict=True))
    return replace(finding, shown=replace(shown, figure="joint probability", figures=figures))


def _decoded(finding: Finding, sampler: TextSampler) -> Finding:
    shown = finding.shown
    if not isinstance(shown, ShownSentences):
        return finding
    return replace(finding, shown=shown.decoded(sampler.codec.decode))


def _test(a: Sequence[str], b: Sequence[str], analyzer: str) -> TwoSample:
    """The classifier two-sample test on hashed n-grams (of characters in words, of words in sentences)."""
    size = min(len(a), len(b), TESTED)
    pattern = {"token_pattern": r"\S+"} if analyzer == "word" else {}
    hashed = HashingVectorizer(
        analyzer=analyzer,
        ngram_range=(1, 2),
        n_features=_FEATURES,
        lowercase=False,
        norm=None,
        alternate_sign=False,
        **pattern,
    )
    return two_sample_tests(*(hashed.transform(texts[:size]).toarray() for texts in (a, b)))


def _strongest(found: Sequence[Finding | None]) -> list[Finding]:
    return sorted(filter(None, found), key=lambda finding: -finding.strength)
