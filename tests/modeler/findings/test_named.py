"""What the page on findings says is what is looked for."""

import re
from pathlib import Path

from fedprobe.modeler.findings import LOOKED_FOR


def test_every_finding_is_on_the_page_about_them():
    page = (Path(__file__).parents[3] / "docs" / "findings.md").read_text()
    named = set(re.findall(r"`([a-z-]+)`", page))
    assert {name for names in LOOKED_FOR.values() for name in names} - named == set()
