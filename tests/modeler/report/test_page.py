"""The page: whatever stands in it is text, and it needs nothing but itself."""

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.errors import RequestError
from fedprobe.modeler.findings import LOOKED_FOR
from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.findings.shown import ShownImages, ShownSentences, ShownWords
from fedprobe.modeler.printable import one_line
from fedprobe.modeler.report.about import About, LedgerRow, Plan
from fedprobe.modeler.report.charts import Chart, Point, Series, Tick
from fedprobe.modeler.report.content import Report
from fedprobe.modeler.report.images import FilmStrip, Gallery, ImagesSection, Shown, TellingRow
from fedprobe.modeler.report.page import render, write_report
from fedprobe.modeler.report.scatter import Dots, Scatter
from fedprobe.modeler.report.text import SentencesSection
from fedprobe.modeler.report.verdict import Opened, Verdict
from fedprobe.modeler.report.words import WordList, WordsSection
from fedprobe.modeler.two_sample import TwoSample
from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.statement import compose, state
from fedprobe.runs import Run

PICTURE = "data:image/png;base64,AAAA"
# Everything, half of a surrogate pair and what turns the direction of writing included.
ANYTHING = st.text(st.characters(exclude_categories=()), min_size=1, max_size=30)
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></pre><h1>",
    "{{ 7 * 7 }}{% raw %}",
    "<!-- ",
    "&lt;b&gt;",
    "\u202egnp.exe",
    "\u2066\u2069\u200b\ufeff",
    "\x00\x07\x1b[31m\r\n",
    "\ud800",
    "ב" * 500,
    "x" * 5000,
]


class Parsed(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    @property
    def shape(self) -> list:
        return [(tag, sorted(attributes)) for tag, attributes in self.elements]


def report_of(word: str) -> Report:
    """A report with everything in it, and `word` wherever a word from outside can stand."""
    finding = Finding("inversion", 0.9, 0.8, 1.0, f"says {word}", f"evidence {word}")
    chart = Chart(
        "A chart",
        "rounds",
        "",
        300,
        [Tick("44.0", "1")],
        [Tick("20.0", "2")],
        [Series(word, [Point("44.0", "20.0", "19.0", "21.0")], True, "20.0")],
        ["position", word],
        [["1", word]],
    )
    statement = state(SampledGaussian(0.25, 0.1, 2), users_per_round=4, population=40, accountant="rdp", runs=[word])
    places = Scatter([Dots(word, [("1.0", "2.0")])] * 2, 20)
    words = WordList(word, word, [(word, word)], word)
    shown = {
        "images": ShownImages([(word, np.zeros((2, 1, 4, 4)))], (0, 1)),
        "words": ShownWords((word, word), word, [word], [(None, 0.5)]),
        "sentences": ShownSentences(word, [word]),
    }
    verdicts = [
        Verdict(LOOKED_FOR[kind], word, word, TwoSample(0.9, 0.0001, 100), [replace(finding, shown=one)])
        for kind, one in shown.items()
    ]
    return Report(
        [Opened(Run(Path("run")), 1, Path("run"), "images", None, word)],
        statement,
        [
            ImagesSection(
                [Gallery(word, word, [PICTURE, PICTURE], 28)] * 2,
                ["run", word],
                [[word, word]],
                verdicts[:1],
                word,
                [word],
                [
                    Shown(word, word, [TellingRow(word, word, [PICTURE], [PICTURE])] * 2, places),
                ],
                [FilmStrip(word, [(1, [PICTURE]), (2, [PICTURE])])],
            ),
            WordsSection([words], ["word", word], [[word, word]], verdicts[1:2], word, word, word),
            SentencesSection([word], [(word, word)], chart, [[word]], verdicts[2:], word),
        ],
        [
            About(word, [(word, word)], [word, word], [word, word], {word: word}),
            About(word, [(word, word)], [word, word], None, {word: word}),
        ],
        [Plan([word], chart)],
        [LedgerRow(word, word, 1.0, word, word, word, word, word, word)],
        [word],
        0,
    )


PLAIN = render(report_of("ordinary"))


@pytest.mark.parametrize("word", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_words_change_nothing_but_text(word):
    check_is_text(word)


@given(ANYTHING)
def test_no_word_changes_anything_but_text(word):
    check_is_text(word)


def check_is_text(word: str) -> None:
    page = render(report_of(word))
    page.encode()
    assert all(sign.isprintable() or sign == "\n" for sign in page)
    parsed, plain = Parsed(page), Parsed(PLAIN)
    assert parsed.shape == plain.shape
    shown = one_line(word)
    assert shown in "".join(parsed.text)
    for (tag, attributes), (_, before) in zip(parsed.elements, plain.elements, strict=True):
        for name, value in before.items():
            assert attributes[name] == (value and value.replace("ordinary", shown)), (tag, name)


def test_lines_of_a_card_stay_lines():
    card = [f"line {number}" for number in range(3)]
    report = report_of("ordinary")
    page = render(replace(report, runs=[replace(report.runs[0], card=card)]))
    assert "<pre>\nline 0\nline 1\nline 2\n</pre>" in page


def test_it_loads_nothing_and_runs_nothing():
    assert not re.search(r"https?:|//[a-z]|url\(|@import|javascript:", PLAIN)
    for tag, attributes in Parsed(PLAIN).elements:
        assert tag not in {"script", "iframe", "object", "embed", "form", "base", "audio", "video"}
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href", "srcset", "xlink:href", "action", "poster", "ping"):
            value = attributes.get(name)
            assert value is None or re.match(r"#|data:image/png;base64,|data:,$", value), (tag, value)


def test_its_policy_allows_its_own_style_and_pictures_and_nothing_else():
    (policy,) = [
        attributes["content"]
        for tag, attributes in Parsed(PLAIN).elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    style = re.search(r"<style>(.*?)</style>", PLAIN, re.DOTALL)[1]
    digest = b64encode(sha256(style.encode()).digest()).decode()
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    # The policy stands before anything that it governs.
    assert PLAIN.index("Content-Security-Policy") < PLAIN.index("<link")


def test_no_template_says_that_something_is_safe_already():
    folder = Path(render.__globals__["__file__"]).parent
    for path in [*folder.glob("templates/*"), *folder.glob("*.py")]:
        source = path.read_text()
        assert "|safe" not in source.replace(" ", "") and "autoescape false" not in source, path
        assert "Markup(" not in source, path


def test_every_link_within_the_page_leads_somewhere():
    elements = Parsed(PLAIN).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in elements:
        for name in ("href", "popovertarget", "aria-labelledby"):
            value = attributes.get(name, "data:").removeprefix("#")
            assert value in ids or value.startswith("data:"), value


def test_epsilon_comes_first_with_all_that_must_be_said_beside_it():
    report = report_of("ordinary")
    text = " ".join(" ".join(Parsed(PLAIN).text).split())
    first, *others = report.statement.lines()
    for part in (*first.replace("(", "").replace(")", "").split("   "), *others):
        assert part in text
        assert text.index(part) < text.index("evidence ordinary")


def test_beside_epsilon_the_ledger_says_what_counts_and_above_it_what_was_found():
    text = " ".join("".join(Parsed(PLAIN).text).split())
    total = "The ledger of the population stands at ordinary (delta ordinary), adding up every release"
    assert text.index("Found: says ordinary") < text.index(total) < text.index("evidence ordinary")
    assert report_of("ordinary").made.isoformat() in text
    row = report_of("ordinary").ledger[0]
    rows = [row, replace(row, spent=3.0, epsilon="3.00"), replace(row, population="other", name="that")]
    last = replace(report_of("ordinary"), ledger=rows).totals
    assert [line.partition(" (delta")[0] for line in last] == [
        "The ledger of ordinary's population stands at 3.00",
        "The ledger of that's population stands at ordinary",
    ]


def test_a_delta_that_is_no_run_s_own_is_explained():
    def one(threshold_delta: float, delta: float = 1e-6):
        event = SampledGaussian(8.0, 1.0, 1, threshold_delta)
        return state(event, users_per_round=None, population=40, participation="every-user", delta=delta)

    def explained(*statements) -> str | None:
        return replace(report_of("w"), statement=compose(statements, exclusive=False)).delta_together

    assert explained(one(5e-7)) is explained(one(0.0), one(0.0)) is None
    assert "Delta is 1.5e-06" in explained(one(5e-7), one(5e-7))
    assert "1e-06 in all, and 5e-07 is for their noise" in explained(one(5e-7), one(5e-7))


def test_what_was_looked_for_is_named_once():
    names = report_of("ordinary").looked_for.split(", ")
    assert len(names) == len(set(names)) > 20


def test_a_report_is_whole_or_absent(tmp_path):
    path = write_report(tmp_path / "new" / "r.html", "<p>é")
    assert path.read_text(encoding="utf-8") == "<p>é"
    assert [one.name for one in path.parent.iterdir()] == ["r.html"]
    for name in ("r.png", "r", "r.htm"):
        with pytest.raises(RequestError, match="ends in .html"):
            write_report(tmp_path / name, "")
