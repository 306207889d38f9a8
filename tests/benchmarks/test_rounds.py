"""The workloads that simulators are compared on run in a short form, and say what they measured."""

import json
import math

import pytest

from benchmarks.rounds import main
from benchmarks.workloads import NAMES


@pytest.mark.parametrize("workload", NAMES)
def test_a_workload_prints_a_line_a_round(capsys: pytest.CaptureFixture[str], workload: str) -> None:
    main(["--workload", workload, "--rounds", "1", "--users", "1", "--workers", "1", "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["round"] for line in lines] == [1]
    for line in lines:
        assert (line["impl"], line["workload"]) == ("fedprobe", workload)
        assert all(math.isfinite(line[name]) and line[name] > 0 for name in ("sec", "rss_mb"))
