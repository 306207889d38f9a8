"""The page in headless Chromium: wide and narrow, light and dark, by keyboard, with hostile words in it."""

from importlib.resources import files
from pathlib import Path

import pytest

from fedprobe.modeler.report.content import make_report
from fedprobe.modeler.report.page import render, write_report
from fedprobe.models.vocabulary import OOV, Bytes, Vocabulary

HOSTILE = ("<img/src=x/onerror=alert(1)>", "<script>alert(1)</script>", "\u202eesrever", "w" * 400, "</title><h1>")
VOCABULARY = Vocabulary(HOSTILE)
SENTENCES = {OOV: 0.1, VOCABULARY.end: 0.2} | {4 + number: 0.14 for number in range(len(HOSTILE))}
WORDS = dict.fromkeys(b'<"&> n', 0.1) | {Bytes.end: 0.4}
LOOKS = [(1280, False), (1280, True), (390, False), (390, True)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture
def report(page, make_run, speaks, reported, folder) -> Path:
    """A page on two runs of images, of words and of sentences, whose names and words are hostile; made once."""
    path = folder / "report.html"
    if not path.exists():
        runs = [
            (make_run('high <b>"&', 0, rounds=(1, 2, 3)), 0.25),
            (make_run("low" * 30, 5), 0.0),
            *((speaks(name, WORDS), 0.0) for name in ("words", "more words")),
            *((speaks(name, SENTENCES, VOCABULARY), 0.0) for name in ("sentences", "more sentences")),
        ]
        write_report(path, render(make_report([reported(run, noise).path for run, noise in runs], count=800)))
    return path


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_it_fits_and_asks_for_nothing_and_complains_of_nothing(page, report, width, dark):
    page.show(report, width, dark)
    assert page.run("document.documentElement.scrollWidth") <= width
    page.run("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert page.run("document.documentElement.scrollWidth") <= width
    assert {url for url in page.requests if not url.startswith("data:")} == {report.as_uri()}
    assert page.said == []
    assert page.run("document.scripts.length") == 0


def test_it_follows_light_and_dark(page, report):
    colours = []
    for dark in (False, True):
        page.show(report, 1280, dark)
        colours.append(page.run("getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(255, 255, 255)", "rgb(20, 23, 26)"]


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_axe_finds_no_fault(page, report, width, dark):
    pytest.importorskip("axe_core_python", reason="the extra fedprobe[test] brings axe-core")
    page.show(report, width, dark)
    page.run("document.querySelectorAll('details').forEach(one => { one.open = true })")
    page.run((files("axe_core_python") / "axe.min.js").read_text() + "; 0")
    faults = "violations.map(one => [one.id, one.impact, one.nodes.map(node => node.html)])"
    assert page.run(f"axe.run(document).then(result => result.{faults})") == []
    page.run("document.querySelector('.zoom').showPopover()")
    assert page.run(f"axe.run('.zoom:popover-open').then(result => result.{faults})") == []


@pytest.mark.parametrize("width", [1280, 390])
def test_a_sample_can_be_enlarged_by_keyboard_alone(page, report, width):
    page.show(report, width)
    for _ in range(60):
        page.press("Tab", 9)
        if page.run("document.activeElement.matches('.cells button')"):
            break
    page.press("Tab", 9)
    zoom = page.run("document.activeElement.getAttribute('popovertarget')")
    assert zoom == "zoom-1-2"
    page.press("Enter", 13, "\r")
    assert page.run("[...document.querySelectorAll(':popover-open')].map(one => one.id)") == [zoom]
    widths = page.run("[...document.querySelectorAll(':popover-open img')].map(one => one.width)")
    assert len(widths) == 2 and min(widths) > 100
    page.press("Tab", 9)
    assert page.run("document.activeElement.textContent") == "Close"
    page.press("Escape", 27)
    assert page.run("document.querySelectorAll(':popover-open').length") == 0
    assert page.run("document.activeElement.getAttribute('popovertarget')") == zoom


def test_both_galleries_open_the_same_cell_and_one_of_them_is_on_the_way_of_the_tab_key(page, report):
    page.show(report, 1280)
    page.run("document.querySelectorAll('.gallery')[1].querySelectorAll('button')[6].click()")
    assert page.run("document.querySelector(':popover-open').id") == "zoom-1-7"
    assert page.run("document.querySelectorAll('.gallery button:not([tabindex])').length") == 64
    assert page.said == []


def test_printing_shows_what_is_folded(page, report):
    page.show(report, 1280)
    height = "document.querySelector('details pre').getBoundingClientRect().height"
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.run(height) > 10
    page.call("Emulation.setEmulatedMedia", media="")
