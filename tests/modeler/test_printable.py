"""Names over columns: told apart, whatever room there is."""

from hypothesis import given
from hypothesis import strategies as st

from fedprobe.modeler.printable import headings, legend, one_line

NAMES = st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=30, unique_by=one_line)


@given(NAMES, st.integers(0, 40))
def test_headings_tell_runs_apart_and_fit_or_the_legend_has_all_names(names, room):
    over = headings(names, room)
    assert len(set(over)) == len(names) == len(over)
    said = legend(names, over)
    if max(len(one_line(name)) for name in names) <= room:
        assert (over, said) == ([one_line(name) for name in names], None)
    elif said is not None:
        assert max(map(len, over)) <= 2
        assert all(f"{short} {one_line(name)}" in said for short, name in zip(over, names, strict=True))
