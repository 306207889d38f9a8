"""Epsilon against rounds, in the terminal and as PNG."""

import pytest
from PIL import Image

from fedprobe.errors import RequestError
from fedprobe.modeler.epsilon_plot import epsilon_chart, epsilon_curves, save_epsilon_plot
from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.events import SampledGaussian

DELTA = 1e-6
EVENT = SampledGaussian(2.0, 0.01, 100)


@pytest.fixture(scope="module")
def curves():
    return epsilon_curves(EVENT, 2.0, DELTA, accountant="rdp")


def test_a_curve_is_what_each_number_of_rounds_costs_and_more_noise_costs_less(curves):
    assert [curve.noise_multiplier for curve in curves] == [0.5, 1, 2, 4, 8]
    (plan,) = [curve for curve in curves if curve.planned]
    assert (plan.noise_multiplier, plan.rounds[0], plan.rounds[-1]) == (2.0, 1, 100)
    for count, value in zip(plan.rounds, plan.epsilon, strict=True):
        assert value == pytest.approx(epsilon([SampledGaussian(2.0, 0.01, count)], DELTA, "rdp").value)
    for more, less in zip(curves[:-1], curves[1:], strict=True):
        assert all(one > other for one, other in zip(more.epsilon, less.epsilon, strict=True))
        assert list(more.epsilon) == sorted(more.epsilon)


def test_rounds_of_a_fixed_size_are_drawn_with_half_of_their_noise():
    halved = epsilon_curves(SampledGaussian(1.0, 0.01, 100), 2.0, DELTA, "fixed", "rdp")
    assert [curve.noise_multiplier for curve in halved] == [0.5, 1, 2, 4, 8]
    (plan,) = [curve for curve in halved if curve.planned]
    assert plan.epsilon[-1] == pytest.approx(epsilon([SampledGaussian(1.0, 0.01, 100)], DELTA, "rdp").value)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_chart_fits_and_every_curve_has_its_label(curves, width):
    lines = epsilon_chart(curves, width).plain.splitlines()
    assert max(map(len, lines)) <= width
    ends = [line.rpartition(" z ")[2].strip() for line in lines if " z " in line]
    assert ends == ["0.5", "1", "2", "4", "8"]
    assert lines[-1].endswith("100 rounds")


def test_the_picture_is_a_png(tmp_path, curves):
    with Image.open(save_epsilon_plot(tmp_path / "deep" / "e.png", curves, DELTA)) as image:
        image.load()
        assert image.format == "PNG"
    with pytest.raises(RequestError, match="png"):
        save_epsilon_plot(tmp_path / "e.pdf", curves, DELTA)


@pytest.mark.parametrize("event, accountant", [(SampledGaussian(0.0, 0.1, 9), "auto"), (EVENT, "paper")])
def test_what_is_no_bound_is_not_drawn(event, accountant):
    with pytest.raises(RequestError):
        epsilon_curves(event, event.noise_multiplier, DELTA, accountant=accountant)
