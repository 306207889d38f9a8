"""Examples of words are called the most frequent ones only where some are more frequent."""

import pytest

from fedprobe.modeler.findings.explanation import most_often
from fedprobe.modeler.findings.sides import Drawn, Released


@pytest.mark.parametrize(
    ("side", "says"),
    [
        (Drawn(["a b", "c d", "e f"]), "such as"),
        (Drawn(["a b", "a b", "c d", "e f"]), "most often"),
        (Released({"a b": 9.0, "c d": 8.5}, 1.0, 5.0), "most often"),
        (Released({"a b": 9.0}, 1.0, 5.0), "such as"),
    ],
)
def test_examples_are_most_often_there_only_where_counts_differ(side, says):
    assert most_often(side, list(side.words)) == says
