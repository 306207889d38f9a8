"""The table of what a training costs, by hand."""

from pytest import approx

from benchmarks.scale import table

SERVER = {"contribution": 0.003, "add": 0.001, "draw": 0.5, "release": 0.25, "write": 0.25}


def test_a_training_costs_its_rounds_and_names_what_they_are_spent_on():
    result = table(1_000, 100, 10, 0.2, SERVER, 1_000_000)
    assert result["users"] == {"rounds_each": 1.0, "bytes_down": 4_000_000, "bytes_up": 8_000_000}
    cpu, gpu, gpus, flower = result["machines"].values()
    assert cpu["seconds_a_round"] == approx(100 * 0.2 + 1) and cpu["bottleneck"] == "training"
    assert cpu["days"] == approx(cpu["seconds_a_round"] * 10 / 86400)
    # 6 x 1,280 symbols x 1,000,000 parameters at 6.7 Tflop/s.
    assert gpu["parts"]["training"] == approx(100 * 7.68e9 / 6.7e12)
    assert gpu["parts"]["summing"] == approx(0.4) and gpu["bottleneck"] == "once"
    assert gpus["parts"]["summing"] == approx(0.05)
    # 100 x 12 MB at 10 Gbit/s.
    assert flower["parts"]["network"] == approx(0.96)
    assert flower["bottleneck"] == "device"
