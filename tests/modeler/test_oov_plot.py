"""Out-of-vocabulary rates by position, as a table and as PNG."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.cells import cell_len
from rich.console import Console

from fedprobe.errors import RequestError
from fedprobe.modeler.oov_plot import MOST_POSITIONS, oov_table, save_oov_plot
from fedprobe.modeler.text_sampling import OovProfile


def profile(oov: list[int], reached: list[int]) -> OovProfile:
    return OovProfile(np.array(oov, np.int64), np.array(reached, np.int64))


def some_profile(seed: int, positions: int) -> OovProfile:
    random = np.random.default_rng(seed)
    reached = np.sort(random.integers(100, 5000, positions))[::-1]
    return OovProfile(random.binomial(reached, 0.08), reached)


def printed(names, profiles, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False, _environ={})
    with console.capture() as capture:
        console.print(oov_table(names, profiles, width))
    return capture.get().splitlines()


NAMES = ["before", "after", "runs/sentences-after-the-release", "train-wordlm-random-12"]


@pytest.mark.parametrize("runs", [1, 2, 4])
@pytest.mark.parametrize("certain", [False, True], ids=["5%", "100%"])
def test_the_table_fits_80_columns_and_cuts_no_figure(runs, certain):
    profiles = [
        OovProfile(one.reached, one.reached) if certain else one
        for one in (some_profile(seed, 6) for seed in range(runs))
    ]
    lines = printed(NAMES[:runs], profiles)
    assert max(map(cell_len, lines)) <= 80
    head, *rows = lines[:7]
    assert len(rows) == 6, "a row a position, none of them broken"
    if runs == 4:
        assert head.split() == ["position", *"ABCD"]
    assert all(name in " ".join(lines) and f"{name[:12]}…" not in head for name in NAMES[:runs]), "none of them cut"
    for position, line in enumerate(rows):
        assert line.split()[0] == str(position + 1)
        for one in profiles:
            low, high = one.intervals[position]
            assert f"{one.rates[position]:.1%} ± {(high - low) / 2:.1%}" in line


@pytest.mark.parametrize("runs", [5, 6, 8])
def test_of_many_runs_every_rate_is_whole_under_its_heading(runs):
    profiles = [some_profile(seed, 3) for seed in range(runs)]
    head, *lines = printed([f"runs/sentences@{number}" for number in range(runs)], profiles)
    assert head.split() == ["position", *"ABCDEFGH"[:runs]]
    for position, line in enumerate(lines[:3]):
        shown = [part for part in line.split() if part.endswith("%")]
        rates = [f"{one.rates[position]:.1%}" for one in profiles]
        assert shown[:: len(shown) // runs] == rates


@given(st.integers(1, 3), st.integers(40, 200), st.integers(0, 40), st.integers(0, 1000))
def test_a_table_is_never_wider_than_it_may_be(runs, width, positions, seed):
    profiles = [some_profile(seed + side, max(0, positions - side)) for side in range(runs)]
    lines = printed(["a", "b", "c"][:runs], profiles, width)
    assert max(map(cell_len, lines), default=0) <= width
    assert len(lines) >= 1 + min(MOST_POSITIONS, positions)


def test_bars_are_as_long_as_their_rates():
    (header, *rows) = printed(["before", "after"], [profile([100, 50, 0], [200] * 3), profile([200, 25], [200] * 2)])
    assert "before" in header and "after" in header
    bars = [[part for part in row.split() if set(part) <= set("█▉▊▋▌▍▎▏")] for row in rows]
    full = len(bars[0][1])
    # The longest of all bars is the highest rate's: 100%. Half of it is 50%; the others to an eighth of a character.
    assert full >= 10
    lengths = [[len(bar) if set(bar) == {"█"} else len(bar) - 0.5 for bar in row] for row in bars]
    assert lengths[0] == pytest.approx([full / 2, full], abs=0.5)
    assert lengths[1] == pytest.approx([full / 4, full / 8], abs=0.5)
    assert lengths[2] == []
    assert "0.0%" in rows[2]


@pytest.mark.parametrize("profiles", [[profile([], [])], [profile([], []), profile([5], [100])], [profile([0], [9])]])
def test_rates_of_nothing_and_of_zero_are_shown_and_drawn(tmp_path, profiles):
    assert printed(NAMES[: len(profiles)], profiles)
    assert save_oov_plot(tmp_path / "p.png", NAMES[: len(profiles)], profiles).stat().st_size > 0


@pytest.mark.parametrize("runs", [1, 2, 4])
def test_the_picture_is_a_png(tmp_path, runs):
    path = save_oov_plot(
        tmp_path / "deep" / "rates.png", NAMES[:runs], [some_profile(seed, 30 - seed) for seed in range(runs)]
    )
    assert path == tmp_path / "deep" / "rates.png"
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        assert len(set(image.convert("L").tobytes())) > 2


def test_another_rate_is_another_picture(tmp_path):
    pictures = []
    for name, oov in (("one", [10, 5]), ("again", [10, 5]), ("other", [10, 80])):
        path = save_oov_plot(tmp_path / f"{name}.png", ["run"], [profile(oov, [100, 100])])
        with Image.open(path) as image:
            pictures.append(image.tobytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_a_name_that_is_no_pngs_is_refused(tmp_path):
    with pytest.raises(RequestError, match="png"):
        save_oov_plot(tmp_path / "rates.pdf", ["run"], [some_profile(0, 3)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["$x^$", "50%[/bold]", "[red]", "_hidden", "naïve №1"])
def test_a_runs_name_is_shown_as_it_is_whatever_signs_are_in_it(tmp_path, name):
    """Formulas to matplotlib, markup to Rich, a hidden line in a legend: to us a folder's name."""
    assert name in printed([name], [some_profile(0, 3)])[0]
    assert save_oov_plot(tmp_path / "p.png", [name], [some_profile(0, 3)]).stat().st_size > 0
