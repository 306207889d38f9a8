"""What is measured beside rounds runs in its short form, and its place in the README takes it."""

from pathlib import Path

import pytest

from benchmarks import readme, rest


def test_the_short_form_runs_and_goes_into_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "README.md"
    page.write_text("above\n<!-- rest: begin -->\nold\n<!-- rest: end -->\nbelow\n")
    monkeypatch.setattr(readme, "README", page)
    rest.main(["--short", "--only", "accounting", "--write"])
    told = capsys.readouterr().out
    assert "z = 1, rdp: epsilon" in told
    written = page.read_text()
    assert told.rstrip() in written and "old" not in written
    assert written.startswith("above\n") and written.endswith("\nbelow\n")


def test_the_readme_has_the_place() -> None:
    text = readme.README.read_text()
    assert text.count("<!-- rest: begin -->") == text.count("<!-- rest: end -->") == 1


@pytest.mark.parametrize("text", ["nothing", "<!-- rest: end -->", 2 * "<!-- rest: begin --><!-- rest: end -->"])
def test_a_readme_without_one_place_for_it_is_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "README.md"
    page.write_text(text)
    with pytest.raises(ValueError, match="no place"):
        readme.write("rest", "table", page)
    assert page.read_text() == text


def test_a_processor_is_named_with_whether_it_has_wide_vectors(tmp_path: Path) -> None:
    cpu = tmp_path / "cpuinfo"
    for flags, vectors in (("fma avx2", "without"), ("avx2 avx512f", "with")):
        cpu.write_text(f"processor\t: 0\nmodel name\t: Abacus 3\nflags\t\t: {flags}\n")
        assert f"of an Abacus 3 {vectors} AVX-512" in readme.here(cpu)
    assert " of " not in readme.here(tmp_path / "none")
