"""The ledger: what it charges, whom it refuses, what it survives. As a filter: see test_ledger_filter.py."""

import contextlib
import json
import math
import multiprocessing
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from dp_accounting.pld import privacy_loss_distribution
from scipy.optimize import brentq
from scipy.stats import norm

from fedprobe.privacy import ledger as ledger_module
from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.entries import Cell, Part
from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.ledger import FILE, BudgetRefusal, Ledger, create, ledger_of
from fedprobe.privacy.population import Population, PopulationError, PrivacyRefusal, carry, lookup, register

# Computed in no time, and 34 to 47 in epsilon at the deltas used here.
CHEAP = SampledGaussian(0.2, 1.0, 1)
HALF = Cell("m", below=0.5)
NOISELESS = SampledGaussian(0.0, 1.0, 3)
DELTA = 1e-6
NOBODY = 65534


def population(folder: Path, kind: str = "private", budget: float | None = 1000.0, delta: float | None = DELTA):
    return Population("abc", kind, budget, delta, ledger=str(folder / "abc"))


def make(folder: Path, *fixed, given: float | None = None) -> Ledger:
    """The ledger in `folder` under a record that fixes kind, budget and delta; the same one at every call."""
    (folder / "abc").mkdir(exist_ok=True)
    return create(population(folder, *fixed), [folder / "shard.h5"], budget_epsilon=given)


def of(rounds: int, noise: float = 0.2) -> list[SampledGaussian]:
    return [SampledGaussian(noise, 1.0, rounds)]


def one_line(caught) -> str:
    (line,) = str(caught.value).splitlines()
    return line


class TestBudget:
    def test_what_was_reserved_is_there_for_the_next_process(self, tmp_path):
        entry = make(tmp_path).reserve("train-gan", [CHEAP], about={"run": "runs/low"})
        (read,) = make(tmp_path).entries()
        assert read == entry
        assert (read.epsilon, read.delta) == (epsilon([CHEAP], DELTA / 10).value, DELTA / 10)
        assert read.run == read.id and read.who and read.declared_at.endswith("+00:00")

    @pytest.mark.parametrize("given", [None, 4.0])
    def test_a_private_population_whose_record_has_no_budget_admits_nothing_whoever_gives_one(self, tmp_path, given):
        ledger = make(tmp_path, "private", None, given=given)
        assert ledger.budget is None
        for ask in (
            ledger.require_budget,
            lambda: ledger.reserve("select", of(1, 100.0)),
            lambda: ledger.require_room("select", of(1, 100.0)),
            lambda: ledger.declare("all", [Part("", "select", {}, (CHEAP,))]),
        ):
            with pytest.raises(BudgetRefusal, match="--budget-epsilon") as caught:
                ask()
            assert caught.value.exit_code == 4
        assert ledger.entries() == []

    def test_a_private_population_without_a_delta_admits_nothing(self, tmp_path):
        with pytest.raises(BudgetRefusal, match="fedprobe init"):
            make(tmp_path, "private", 1000.0, None).reserve("select", [CHEAP], delta=1e-9)

    @pytest.mark.parametrize("private", [True, False])
    def test_no_noise_is_for_simulations(self, tmp_path, private):
        ledger = make(tmp_path) if private else make(tmp_path, "simulation", None, None)
        asked = {"what": "train-gan", "events": [CHEAP, NOISELESS], "delta": 1e-7}
        if not private:
            assert ledger.require_room(**asked).epsilon == ledger.reserve(**asked).epsilon == math.inf
            return
        for ask in (ledger.reserve, ledger.require_room):
            with pytest.raises(BudgetRefusal, match="noise multiplier 0"):
                ask(**asked)
        with pytest.raises(BudgetRefusal, match="noise multiplier 0"):
            ledger.declare("all", [Part("", "train-gan", {}, (NOISELESS,))])

    def test_a_simulation_without_a_budget_takes_anything_and_its_json_is_json(self, tmp_path):
        ledger = make(tmp_path, "simulation", None, None)
        for events in ([CHEAP] * 5, [NOISELESS], of(10**6, 0.01)):
            ledger.reserve("train-gan", events, delta=0.1)
        assert ledger.spent().epsilon == math.inf
        said = json.loads(json.dumps(ledger.to_json(), allow_nan=False))
        assert said["spent"]["epsilon"] is None and said["spent"]["epsilon_is"] == "infinite"
        assert [entry["epsilon"] is None for entry in said["entries"]] == [False, True, False]
        assert (said["schema"], said["kind"], said["budget"], said["left"]) == (
            "fedprobe.ledger/1", "simulation", None, None,
        )  # fmt: skip

    def test_a_simulation_with_a_budget_keeps_it(self, tmp_path):
        ledger = make(tmp_path, "simulation", 50.0, DELTA)
        ledger.reserve("train-gan", [CHEAP])
        for events in ([CHEAP], [NOISELESS]):
            with pytest.raises(BudgetRefusal, match="50"):
                ledger.reserve("train-gan", events)
        assert len(ledger.entries()) == 1

    def test_the_json_says_what_is_left(self, tmp_path):
        ledger = make(tmp_path)
        cell = Cell("measured", below=0.5)
        entry = ledger.reserve("train-gan", [CHEAP], cell=cell, about={"run": "runs/low"})
        said = json.loads(json.dumps(ledger.to_json(), allow_nan=False))
        assert said["spent"] == {"epsilon": entry.epsilon, "delta": entry.delta}
        assert said["budget"] == {"epsilon": 1000.0, "delta": DELTA}
        assert said["left"] == {"epsilon": 1000.0 - entry.epsilon, "delta": DELTA - entry.delta}
        (shown,) = said["entries"]
        assert shown["cohort_cell"] == {"measurement": "measured", "below": 0.5, "above": None, "where": None}
        assert shown["events"] == [CHEAP.to_json()] and shown["rounds_opened"] == 0

    def test_requiring_room_writes_no_entry(self, tmp_path):
        ledger = make(tmp_path)
        asked = ledger.require_room("train-gan", [CHEAP])
        assert ledger.entries() == [] and asked.epsilon == ledger.reserve("train-gan", [CHEAP]).epsilon

    def test_events_may_come_from_an_iterator(self, tmp_path):
        entry = make(tmp_path).reserve("train-gan", iter([CHEAP, CHEAP]))
        assert entry.events == (CHEAP, CHEAP) and entry.epsilon == epsilon([CHEAP] * 2, DELTA / 10).value

    def test_a_refusal_is_one_line_that_says_what_is_left(self, tmp_path):
        ledger = make(tmp_path, "private", 60.0)
        entry = ledger.reserve("train-gan", [CHEAP])
        with pytest.raises(BudgetRefusal) as caught:
            ledger.reserve("train-gan", [CHEAP])
        left = math.floor((60 - entry.epsilon) * 100) / 100
        assert f"{entry.epsilon:.2f}" in one_line(caught) and f"--target-epsilon {left:g}" in one_line(caught)

    def test_a_plan_that_is_refused_after_infinitely_much_is_not_a_number_of_nothing(self, tmp_path):
        make(tmp_path, "simulation", None).reserve("train-gan", [NOISELESS])
        with pytest.raises(BudgetRefusal) as caught:
            make(tmp_path).reserve("train-gan", [CHEAP])
        assert "nan" not in one_line(caught) and "0 left" in one_line(caught)


class TestDelta:
    def test_a_plan_asks_for_a_tenth_by_default(self, tmp_path):
        ledger = make(tmp_path)
        assert ledger.plan_delta(None, 0.5) == pytest.approx(DELTA / 10)
        assert ledger.reserve("train-gan", [CHEAP]).delta == ledger.plan_delta(None, 0.5)
        assert ledger.plan_delta(3e-7, 0.5) == 3e-7

    def test_a_simulation_without_a_delta_must_be_told(self, tmp_path):
        ledger = make(tmp_path, "simulation", None, None)
        assert ledger.plan_delta(None, 0.5) == 0.5
        with pytest.raises(PopulationError, match="--delta"):
            ledger.reserve("train-gan", [CHEAP])

    def test_no_plan_has_a_larger_delta_than_the_record(self, tmp_path):
        ledger = make(tmp_path)
        for ask in (lambda: ledger.plan_delta(2e-6, 0.5), lambda: ledger.reserve("select", [CHEAP], delta=2e-6)):
            with pytest.raises(PrivacyRefusal, match="1e-06"):
                ask()

    def test_a_simulation_that_fixes_one_holds_every_plan_to_it(self, tmp_path):
        ledger = make(tmp_path, "simulation", None)
        with pytest.raises(PrivacyRefusal, match="1e-06"):
            ledger.reserve("select", [CHEAP], delta=2e-6)
        for _ in range(3):
            ledger.reserve("select", [CHEAP], delta=DELTA)
        assert ledger.spent().delta == pytest.approx(3 * DELTA)

    @pytest.mark.parametrize("delta", [0.0, -1e-9, math.nan])
    def test_a_delta_that_is_none_is_refused(self, tmp_path, delta):
        with pytest.raises(ValueError, match="delta"):
            make(tmp_path).reserve("train-gan", [CHEAP], delta=delta)
        assert make(tmp_path).entries() == []

    def test_ten_tenths_fit_and_no_eleventh(self, tmp_path):
        ledger = make(tmp_path)
        for _ in range(10):
            ledger.reserve("select", of(1, 1e5))
        with pytest.raises(BudgetRefusal, match="--delta"):
            ledger.reserve("select", of(1, 1e5))
        assert ledger.totals()["left"]["delta"] == pytest.approx(0, abs=1e-20)

    def test_exclusive_cells_share_a_delta(self, tmp_path):
        ledger = make(tmp_path)
        for cell in (Cell("m", below=0.5), Cell("m", above=0.5)):
            ledger.reserve("train-gan", [CHEAP], delta=DELTA, cell=cell)
        assert ledger.spent().delta == DELTA
        with pytest.raises(BudgetRefusal, match="delta"):
            ledger.reserve("select", of(1, 1e5))


class TestRecordThatWasTightened:
    @pytest.mark.parametrize("given, budget", [(None, 1000.0), (50.0, 50.0), (2000.0, 1000.0)])
    def test_a_budget_that_is_given_can_only_be_smaller(self, tmp_path, given, budget):
        assert make(tmp_path, given=given).budget == budget

    def test_a_given_budget_is_that_of_a_simulation_that_has_none(self, tmp_path):
        ledger = make(tmp_path, "simulation", None, given=50.0)
        ledger.reserve("train-gan", [CHEAP])
        with pytest.raises(BudgetRefusal):
            ledger.reserve("train-gan", [CHEAP])

    @pytest.mark.parametrize("fixed", [("private", 20.0, DELTA), ("private", 1000.0, DELTA / 20)])
    def test_nothing_more_is_opened_of_what_is_reserved(self, tmp_path, fixed):
        part = Part("", "train-gan", {"criterion": "random"}, (CHEAP,))
        before = make(tmp_path)
        before.reserve("train-gan", of(2), run="run")
        before.declare("all", [part])
        with before.rounds_of("run", CHEAP) as rounds:
            rounds.open()
        after = make(tmp_path, *fixed)
        with after.rounds_of("run", CHEAP) as rounds, pytest.raises(BudgetRefusal, match="tightened"):
            rounds.open()
        with pytest.raises(BudgetRefusal, match="tightened"):
            after.reserve("train-gan", part.events, study="all", rule=part.rule)
        with pytest.raises(BudgetRefusal):
            after.reserve("train-gan", [CHEAP])
        assert after.totals()["left"]["epsilon"] >= 0 and after.totals()["left"]["delta"] >= 0

    def test_a_given_budget_stops_rounds_too(self, tmp_path):
        make(tmp_path).reserve("train-gan", of(2), run="run")
        with (
            make(tmp_path, given=20.0).rounds_of("run", CHEAP) as rounds,
            pytest.raises(BudgetRefusal, match="tightened"),
        ):
            rounds.open()

    def test_rounds_without_noise_end_with_the_simulation(self, tmp_path):
        part = Part("", "train-gan", {"criterion": "random"}, (NOISELESS,))
        simulation = make(tmp_path, "simulation", None)
        simulation.reserve("train-gan", [NOISELESS], run="run")
        simulation.declare("all", [part])
        for budget in (None, 1e9):
            private = make(tmp_path, "private", budget)
            with private.rounds_of("run", NOISELESS) as rounds, pytest.raises(BudgetRefusal):
                rounds.open()
            with pytest.raises(BudgetRefusal):
                private.reserve("train-gan", part.events, study="all", rule=part.rule)


def gaussian_epsilon(noises: list[float], delta: float) -> float:
    """The exact epsilon of Gaussians composed (Balle and Wang 2018, Theorem 8): one of mu^2 = sum of 1 / z^2."""
    mu = math.sqrt(sum(noise**-2 for noise in noises))

    def delta_at(eps: float) -> float:
        return norm.cdf(mu / 2 - eps / mu) - math.exp(eps) * norm.cdf(-mu / 2 - eps / mu)

    return brentq(lambda eps: delta_at(eps) - delta, 0, 100, xtol=1e-9)


RANDOM = {"criterion": "random"}
LOW, HIGH = {"criterion": "low-accuracy", "below": 0.4}, {"criterion": "high-accuracy", "above": 0.6}
MIDDLE = {"criterion": "low-accuracy", "below": 0.7}
STUDY = [
    Part("counts", "select", {}, tuple(of(1, 10.0))),
    Part("low", "train-gan", LOW, tuple(of(4, 8.0))),
    Part("high", "train-gan", HIGH, tuple(of(4, 6.0))),
    Part("low again", "train-gan", LOW, tuple(of(4, 8.0))),
]
# All of one price, in no time.
CHEAP_STUDY = [replace(part, events=(replace(CHEAP, rounds=3),)) for part in STUDY]


class TestStudy:
    @pytest.mark.parametrize(
        "parts, dearest",
        [
            (STUDY, [10] + [8] * 8),
            (STUDY[:3], [10] + [6] * 4),
            ([*STUDY[:3], replace(STUDY[1], rule=MIDDLE)], [10] + [6] * 4 + [8] * 4),
            ([replace(part, rule=RANDOM) for part in STUDY], [10] + [8] * 8 + [6] * 4),
            (
                [STUDY[1], replace(STUDY[2], rule={"criterion": "misclassified", "min_examples": 5})],
                [8] * 4 + [6] * 4,
            ),
        ],
    )
    def test_it_costs_what_the_user_in_the_dearest_cohorts_pays(self, tmp_path, parts, dearest):
        entry = make(tmp_path).declare("all", parts, delta=1e-7)
        assert entry.epsilon == pytest.approx(gaussian_epsilon(dearest, 1e-7), rel=1e-3)
        assert entry.epsilon >= gaussian_epsilon(dearest, 1e-7) - 1e-9

    def test_sampled_rounds_compose_as_their_privacy_loss_distributions(self, tmp_path):
        rounds = SampledGaussian(1.0, 0.02, 50)
        parts = [
            Part("counts", "select", {}, tuple(of(1, 20.0))),
            Part("low", "train-gan", LOW, (rounds,)),
            Part("high", "train-gan", HIGH, (replace(rounds, rounds=20),)),
        ]
        entry = make(tmp_path).declare("all", parts)
        counts = privacy_loss_distribution.from_gaussian_mechanism(20.0, value_discretization_interval=1e-3)
        round = privacy_loss_distribution.from_gaussian_mechanism(
            1.0, sampling_prob=0.02, value_discretization_interval=1e-3
        )
        expected = counts.compose(round.self_compose(50)).get_epsilon_for_delta(DELTA / 10)
        assert entry.epsilon == pytest.approx(expected, rel=0.02) and entry.epsilon <= expected

    def test_the_same_events_cost_more_where_nobody_is_excluded(self, tmp_path):
        """Costs are kept beside the entries, under all that they depend on."""
        ledger = make(tmp_path)
        low, high = CHEAP_STUDY[1:3]
        apart = ledger.declare("apart", [low, high])
        both = ledger.declare("both", [low, replace(high, rule=RANDOM)])
        alone = ledger.reserve("train-gan", (*low.events, *high.events), delta=both.delta)
        later = ledger.declare("later", [low, high], delta=DELTA / 5)
        assert apart.events == both.events == alone.events == later.events
        assert later.epsilon < apart.epsilon == epsilon(low.events, apart.delta).value < both.epsilon == alone.epsilon
        assert [entry.epsilon for entry in ledger.entries()] == [entry.epsilon for entry in (apart, both, alone, later)]

    @pytest.mark.parametrize("noises", [(6.0, 6.0), (10.0, 4.0, 25.0)])
    def test_it_never_costs_more_than_its_plans_alone(self, tmp_path, noises):
        ledger = make(tmp_path)
        study = ledger.declare("all", [Part("", "train-gan", RANDOM, tuple(of(1, noise))) for noise in noises])
        share = study.delta / len(noises)
        alone = [ledger.require_room("train-gan", of(1, noise), delta=share).epsilon for noise in noises]
        assert max(alone) < study.epsilon < sum(alone)

    def test_its_parts_cost_nothing_more_and_can_be_taken_once(self, tmp_path):
        ledger = make(tmp_path)
        entry = ledger.declare("all", CHEAP_STUDY)
        spent = ledger.spent()
        cells = [None, Cell("m", below=0.4), Cell("m", above=0.6), Cell("m", below=0.4)]
        taken = [
            make(tmp_path).reserve(part.command, part.events, study="all", rule=part.rule, cell=cell)
            for part, cell in zip(CHEAP_STUDY, cells, strict=True)
        ]
        assert len({part.run for part in taken}) == 4 and {part.id for part in taken} == {entry.id}
        assert {(part.epsilon, part.delta) for part in taken} == {(entry.epsilon, entry.delta)}
        assert ledger.spent() == spent and len(ledger.entries()) == 1
        assert [ledger.rounds_left(part.run, CHEAP, part.cell) for part in taken] == [3] * 4
        for part, cell in zip(CHEAP_STUDY, cells, strict=True):
            with pytest.raises(BudgetRefusal, match="no such plan left"):
                ledger.reserve(part.command, part.events, study="all", rule=part.rule, cell=cell)
        with ledger.rounds_of(taken[1].run, CHEAP, cells[1]) as rounds:
            assert [rounds.open() for _ in range(3)] == [1, 2, 3]
            with pytest.raises(BudgetRefusal, match="no round"):
                rounds.open()
        assert ledger.entries()[0].opened == 3 and ledger.rounds_left(taken[3].run, CHEAP, cells[3]) == 3

    @pytest.mark.parametrize(
        "changed",
        [
            {"command": "train-charlm"},
            {"rule": HIGH | {"above": 0.5}},
            {"rule": RANDOM},
            {"rule": {}},
            {"events": tuple(of(4))},
            {"events": tuple(of(2))},
            {"events": tuple(of(3, 0.19))},
            {"events": (SampledGaussian(0.2, 0.5, 3),)},
            {"events": tuple(of(3) * 2)},
            {"events": ()},
        ],
    )
    def test_a_plan_that_differs_from_what_it_declares_is_no_part_of_it(self, tmp_path, changed):
        ledger = make(tmp_path)
        ledger.declare("all", CHEAP_STUDY[2:3])
        asked = replace(CHEAP_STUDY[2], **changed)
        cell = Cell("m", above=0.6)
        with pytest.raises(BudgetRefusal, match="no such plan left"):
            ledger.reserve(asked.command, asked.events, study="all", rule=asked.rule, cell=cell)

    def test_cohorts_of_another_measurement_are_no_part_of_it(self, tmp_path):
        ledger = make(tmp_path)
        ledger.declare("all", CHEAP_STUDY)
        low, high = CHEAP_STUDY[1:3]
        ledger.reserve(low.command, low.events, study="all", rule=low.rule, cell=Cell("m", below=0.4))
        # Nor one that does not say by which measurement.
        for cell in (Cell("another", above=0.6), None):
            with pytest.raises(BudgetRefusal, match="one frozen measurement"):
                ledger.reserve(high.command, high.events, study="all", rule=high.rule, cell=cell)
        counts = CHEAP_STUDY[0]
        ledger.reserve(counts.command, counts.events, study="all", rule=counts.rule)
        ledger.reserve(high.command, high.events, study="all", rule=high.rule, cell=Cell("m", above=0.6))

    def test_one_must_be_declared_and_only_once(self, tmp_path):
        ledger = make(tmp_path)
        part = CHEAP_STUDY[0]
        with pytest.raises(BudgetRefusal, match="fedprobe ledger declare"):
            ledger.reserve(part.command, part.events, study="all")
        entry = ledger.declare("all", [part])
        with pytest.raises(PopulationError, match="another name"):
            ledger.declare("all", [part])
        ledger.settle(entry.id)
        with pytest.raises(BudgetRefusal):
            ledger.reserve(part.command, part.events, study="all")
        with pytest.raises(PopulationError, match="another name"):
            ledger.declare("all", [part])
        assert ledger.declare("another", [part]).id != entry.id

    def test_one_over_the_budget_is_refused_whole(self, tmp_path):
        ledger = make(tmp_path, "private", 60.0)
        with pytest.raises(BudgetRefusal, match="60"):
            ledger.declare("all", CHEAP_STUDY)
        part = CHEAP_STUDY[0]
        with pytest.raises(BudgetRefusal, match="no study"):
            ledger.reserve(part.command, part.events, study="all")
        assert ledger.entries() == []

    def test_settling_a_part_closes_it_and_no_other(self, tmp_path):
        ledger = make(tmp_path)
        part = CHEAP_STUDY[0]
        ledger.declare("all", [part, part])
        one, other = (ledger.reserve(part.command, part.events, study="all").run for _ in range(2))
        assert (ledger.settle(one), ledger.settle(one)) == (1, 0)
        assert (ledger.rounds_left(one, CHEAP), ledger.rounds_left(other, CHEAP)) == (0, 3)
        with ledger.rounds_of(one, CHEAP) as rounds, pytest.raises(BudgetRefusal, match="no round"):
            rounds.open()
        with pytest.raises(BudgetRefusal, match="no such plan left"):
            ledger.reserve(part.command, part.events, study="all")

    def test_settling_it_closes_its_parts(self, tmp_path):
        ledger = make(tmp_path)
        part = CHEAP_STUDY[0]
        entry = ledger.declare("all", [part])
        run = ledger.reserve(part.command, part.events, study="all").run
        assert ledger.settle(entry.id) == 1 and ledger.rounds_left(run, CHEAP) == 0

    def test_more_rounds_of_a_part_are_a_plan_of_their_own(self, tmp_path):
        ledger = make(tmp_path)
        part = CHEAP_STUDY[0]
        ledger.declare("all", [part])
        before = ledger.spent()
        run = ledger.reserve(part.command, part.events, study="all").run
        more = ledger.reserve(part.command, of(2), run=run)
        assert ledger.rounds_left(run, CHEAP) == 5
        assert ledger.spent().epsilon == pytest.approx(before.epsilon + more.epsilon)


def _open_and_die(ledger: Ledger, run: str) -> None:
    with ledger.rounds_of(run, CHEAP) as rounds:
        rounds.open()
        rounds.open()
        os._exit(9)


class TestRounds:
    def test_they_are_given_out_once_and_never_more_than_reserved(self, tmp_path):
        ledger = make(tmp_path)
        run = ledger.reserve("train-gan", of(3)).run
        numbers = []
        for _ in range(3):
            with make(tmp_path).rounds_of(run, CHEAP) as rounds:
                numbers.append(rounds.open())
            assert ledger.rounds_left(run, CHEAP) == 3 - len(numbers)
        with make(tmp_path).rounds_of(run, CHEAP) as rounds, pytest.raises(BudgetRefusal, match="more rounds"):
            rounds.open()
        assert numbers == [1, 2, 3] and ledger.entries()[0].opened == 3

    def test_a_second_plan_of_the_run_goes_on_where_the_first_ended(self, tmp_path):
        ledger = make(tmp_path)
        run = ledger.reserve("train-gan", of(1)).run
        with ledger.rounds_of(run, CHEAP) as rounds:
            assert rounds.open() == 1
            ledger.reserve("train-gan", of(2), run=run)
            assert (rounds.open(), rounds.open()) == (2, 3)
            with pytest.raises(BudgetRefusal):
                rounds.open()
        assert len(ledger.entries()) == 2

    def test_no_run_opens_rounds_of_another_or_without_a_plan(self, tmp_path):
        ledger = make(tmp_path)
        ledger.reserve("train-gan", of(3))
        with ledger.rounds_of("another", CHEAP) as rounds, pytest.raises(BudgetRefusal):
            rounds.open()
        assert ledger.rounds_left("another", CHEAP) == 0

    @pytest.mark.parametrize(
        ("event", "cell"),
        [
            (replace(CHEAP, noise_multiplier=0.1), HALF),
            (replace(CHEAP, sampling_probability=0.5), HALF),
            (replace(CHEAP, threshold_delta=1e-9), HALF),
            (CHEAP, None),
            (CHEAP, replace(HALF, below=0.6)),
            (CHEAP, replace(HALF, measurement="another")),
        ],
    )
    def test_none_is_opened_of_another_plan_than_was_charged(self, tmp_path, event, cell):
        """A run directory says what its plan was, and whoever has it may change that."""
        ledger = make(tmp_path)
        alone = ledger.reserve("train-gan", of(3), cell=HALF).run
        rule = {"criterion": "low-accuracy", "below": 0.5}
        ledger.declare("all", [Part("", "train-gan", rule, tuple(of(3)))])
        part = ledger.reserve("train-gan", of(3), study="all", rule=rule, cell=HALF).run
        for run in (alone, part):
            with pytest.raises(BudgetRefusal, match="another plan"):
                ledger.rounds_left(run, event, cell)
            with ledger.rounds_of(run, event, cell) as rounds, pytest.raises(BudgetRefusal, match="another plan"):
                rounds.open()
            assert ledger.opened(run) == 0 and ledger.rounds_left(run, CHEAP, HALF) == 3

    def test_none_is_opened_under_a_studys_own_id(self, tmp_path):
        ledger = make(tmp_path)
        study = ledger.declare("all", [CHEAP_STUDY[0]])
        with ledger.rounds_of(study.id, CHEAP) as rounds, pytest.raises(BudgetRefusal, match="no round"):
            rounds.open()

    def test_a_settled_run_opens_no_more_and_gives_nothing_back(self, tmp_path):
        ledger = make(tmp_path)
        run = ledger.reserve("train-gan", of(3)).run
        other = ledger.reserve("train-gan", of(3)).run
        spent = ledger.spent()
        with ledger.rounds_of(run, CHEAP) as rounds:
            rounds.open()
            assert ledger.settle(run) == 1
            with pytest.raises(BudgetRefusal):
                rounds.open()
        assert ledger.settle(run) == 0
        assert ledger.spent() == spent and (ledger.rounds_left(run, CHEAP), ledger.rounds_left(other, CHEAP)) == (0, 3)
        with pytest.raises(BudgetRefusal, match="closed"):
            ledger.reserve("train-gan", of(1), run=run)
        assert [entry.settled_at is None for entry in ledger.entries()] == [False, True]
        assert ledger.entries()[0].opened == 1

    def test_a_round_stays_opened_though_its_process_died(self, tmp_path):
        ledger = make(tmp_path)
        run = ledger.reserve("train-gan", of(4)).run
        child = multiprocessing.get_context("fork").Process(target=_open_and_die, args=(ledger, run))
        child.start()
        child.join()
        assert child.exitcode == 9 and ledger.rounds_left(run, CHEAP) == 2
        with ledger.rounds_of(run, CHEAP) as rounds:
            assert rounds.open() == 3

    def test_an_error_in_the_caller_takes_no_opened_round_back(self, tmp_path):
        ledger = make(tmp_path)
        run = ledger.reserve("train-gan", of(2)).run
        with pytest.raises(ZeroDivisionError), ledger.rounds_of(run, CHEAP) as rounds:
            rounds.open()
            raise ZeroDivisionError
        assert ledger.rounds_left(run, CHEAP) == 1


class Watched(sqlite3.Connection):
    """Notes what is in force whenever something is committed."""

    committed: list[tuple[str, int]] = []

    def __exit__(self, *raised):
        journal = self.execute("pragma journal_mode").fetchone()[0]
        self.committed.append((journal, self.execute("pragma synchronous").fetchone()[0]))
        return super().__exit__(*raised)


class NotDurable(sqlite3.Connection):
    def execute(self, statement, *values):
        if statement == "pragma journal_mode = wal":
            return super().execute("select 'delete'")
        return super().execute(statement, *values)


def connecting(monkeypatch, factory: type[sqlite3.Connection]) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, **options, factory=factory))


class TestDurability:
    def test_every_write_is_in_wal_mode_and_synchronous(self, tmp_path, monkeypatch):
        connecting(monkeypatch, Watched)
        monkeypatch.setattr(Watched, "committed", [])
        ledger = make(tmp_path)
        run = ledger.reserve("train-gan", of(2)).run
        ledger.declare("all", CHEAP_STUDY)
        with ledger.rounds_of(run, CHEAP) as rounds:
            rounds.open()
            rounds.open()
        ledger.settle(run)
        # 2 is FULL: https://sqlite.org/pragma.html#pragma_synchronous
        assert len(Watched.committed) == 5 and set(Watched.committed) == {("wal", 2)}

    def test_a_file_system_that_cannot_is_refused(self, tmp_path, monkeypatch):
        connecting(monkeypatch, NotDurable)
        with pytest.raises(PopulationError, match="local disk"):
            make(tmp_path).reserve("train-gan", [CHEAP])

    def test_another_process_that_holds_it_is_waited_for_and_then_named(self, tmp_path, monkeypatch):
        ledger = make(tmp_path)
        monkeypatch.setattr(ledger_module, "_SECONDS_TO_WAIT", 0.0)
        with contextlib.closing(sqlite3.connect(ledger.folder / FILE, isolation_level=None)) as other:
            other.execute("begin immediate")
            with pytest.raises(PopulationError, match="another process"):
                ledger.reserve("train-gan", [CHEAP])
        ledger.reserve("train-gan", [CHEAP])

    @pytest.mark.parametrize(
        "kind, refused",
        [("ext4", False), ("fuseblk", False), ("tmpfs", False), ("apfs", False)]
        + [(kind, True) for kind in ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.glusterfs", "lustre")],
    )
    def test_a_network_drive_is_refused(self, tmp_path, monkeypatch, kind, refused):
        folder = tmp_path / "a drive"
        folder.mkdir()
        mounts = tmp_path / "mounts"
        place = str(folder).replace(" ", "\\040")
        mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/x {place} {kind} rw 0 0\ntmpfs {place}2 nfs rw 0 0\n")
        monkeypatch.setattr(ledger_module, "_MOUNTS", mounts)
        if not refused:
            make(folder).reserve("train-gan", [CHEAP])
            return
        for find in (create, ledger_of):
            (folder / "abc").mkdir(exist_ok=True)
            with pytest.raises(PopulationError, match="network drive") as caught:
                find(population(folder, "simulation"), [folder / "shard.h5"])
            assert kind in one_line(caught)
        assert not (folder / "abc" / FILE).exists()

    def test_what_is_mounted_last_and_deepest_counts(self, tmp_path, monkeypatch):
        mounts = tmp_path / "mounts"
        mounts.write_text(f"server:/ / nfs rw 0 0\na {tmp_path} nfs rw 0 0\nb {tmp_path} ext4 rw 0 0\nproc /proc p 0\n")
        monkeypatch.setattr(ledger_module, "_MOUNTS", mounts)
        make(tmp_path)
        # A name that only begins alike is no folder above.
        mounts.write_text(f"a / ext4 rw 0 0\nserver:/ {str(tmp_path)[:-1]} nfs rw 0 0\n")
        monkeypatch.setattr(ledger_module, "_MOUNTS", mounts)
        make(tmp_path)
        monkeypatch.setattr(ledger_module, "_MOUNTS", tmp_path / "none of that here")
        make(tmp_path)


def asks_of(ledger: Ledger) -> list:
    """Everything that looks into the ledger or writes."""

    def opened():
        with ledger.rounds_of("run", CHEAP, HALF) as rounds:
            rounds.open()

    return [
        ledger.entries,
        ledger.spent,
        ledger.to_json,
        lambda: ledger.reserve("train-gan", [CHEAP]),
        lambda: ledger.require_room("train-gan", [CHEAP]),
        lambda: ledger.declare("another", CHEAP_STUDY),
        lambda: ledger.reserve("select", CHEAP_STUDY[0].events, study="all"),
        opened,
    ]


def alter(ledger: Ledger, statement: str, *values) -> None:
    with contextlib.closing(sqlite3.connect(ledger.folder / FILE)) as connection, connection:
        connection.execute(statement, values)


@pytest.fixture
def filled(tmp_path) -> Ledger:
    ledger = make(tmp_path)
    ledger.reserve("train-gan", of(3), run="run", cell=HALF, about={"run": "runs/low"})
    ledger.declare("all", CHEAP_STUDY)
    return ledger


class TestDamage:
    @pytest.mark.parametrize("left", [b"", b"no database at all, but long enough to have been one" * 100, None])
    def test_a_file_that_is_no_ledger_is_not_taken_for_an_empty_one(self, filled, left):
        file = filled.folder / FILE
        file.write_bytes(file.read_bytes()[:5000] if left is None else left)
        found = ledger_of(filled.population, [filled.folder.parent / "shard.h5"])
        again = create(filled.population, [filled.folder.parent / "shard.h5"])
        for ask in [
            *asks_of(found),
            *asks_of(again),
            lambda: found.rounds_left("run", CHEAP, HALF),
            lambda: found.settle("run"),
        ]:
            with pytest.raises(PopulationError, match="restore it from a copy") as caught:
                ask()
            assert FILE in one_line(caught) and caught.value.exit_code == 2

    @pytest.mark.parametrize("column", ["events", "parts", "about", "cell", "delta"])
    @pytest.mark.parametrize("value", ["", "{", "5", "[5]", '"x"', '{"a": 1}', "[null]", '[{"event": "another"}]'])
    def test_a_row_that_is_damaged_says_so(self, filled, column, value):
        if (column, value) in (("about", '{"a": 1}'), ("delta", "5")):
            value = "[[]]" if column == "about" else "7"
        alter(filled, f"update entries set {column} = ?", value)
        for ask in asks_of(filled):
            with pytest.raises(PopulationError, match="damaged; restore it from a copy") as caught:
                ask()
            assert FILE in one_line(caught)

    def test_a_ledger_that_goes_away_is_not_made_anew(self, filled):
        (filled.folder / FILE).unlink()
        for ask in asks_of(filled):
            with pytest.raises(PopulationError, match="restore it"):
                ask()
        assert not (filled.folder / FILE).exists()

    def test_a_folder_that_may_only_be_read_takes_no_plan(self):
        with TemporaryDirectory() as folder:
            ledger = make(Path(folder))
            ledger.reserve("train-gan", of(3), run="run")
            with read_only(Path(folder)):
                for ask in asks_of(ledger)[3:]:
                    with pytest.raises(PopulationError) as caught:
                        ask()
                    assert FILE in one_line(caught)
            assert len(ledger.entries()) == 1 and ledger.rounds_left("run", CHEAP) == 3

    def test_a_ledger_that_may_not_be_looked_into_is_not_passed_over_for_a_copy(self):
        with TemporaryDirectory() as outer:
            folder = Path(outer)
            fixed, _ = registered(folder / "data", "private")
            shutil.copytree(folder / "data", folder / "copy")
            with read_only(folder, closed=folder / "data"), pytest.raises(PopulationError, match="cannot be reached"):
                ledger_of(fixed, [folder / "copy" / "a.h5"])


@contextlib.contextmanager
def read_only(folder: Path, closed: Path | None = None) -> Iterator[None]:
    """Be somebody who may only read in `folder`, and may not even enter the folder `closed`."""
    places = [folder, *folder.rglob("*")]
    modes = [path.stat().st_mode for path in places]
    root = os.geteuid() == 0
    for path in places:
        path.chmod(0 if path == closed else 0o555)
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        for path, mode in zip(places, modes, strict=True):
            if path.exists():
                path.chmod(mode)


def registered(folder: Path, kind: str, *files: str) -> tuple[Population, list[Path]]:
    """A registered population with a plan of epsilon 40 or so in its ledger."""
    paths = [folder / file for file in files or ("a.h5",)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    fixed, _ = register(paths, kind, 1000.0, DELTA)
    create(fixed, paths).reserve("train-gan", [CHEAP])
    return fixed, paths


def plans_at(*files: Path) -> int:
    return len(ledger_of(lookup(list(files)), list(files)).entries())


class TestWhereItLies:
    def test_a_run_directory_has_no_part_in_it(self, tmp_path):
        fixed, files = registered(tmp_path / "data", "private")
        ledger = ledger_of(fixed, files)
        (tmp_path / "runs" / "low").mkdir(parents=True)
        ledger.reserve("train-gan", [CHEAP], about={"run": str(tmp_path / "runs" / "low")})
        spent = ledger.spent()
        shutil.rmtree(tmp_path / "runs")
        assert ledger_of(fixed, files).spent() == spent

    def test_shards_that_moved_find_theirs(self, tmp_path):
        registered(tmp_path / "data", "private")
        (tmp_path / "data").rename(tmp_path / "moved")
        assert plans_at(tmp_path / "moved" / "a.h5") == 1
        found = ledger_of(lookup([tmp_path / "moved" / "a.h5"]), [tmp_path / "moved" / "a.h5"])
        found.reserve("train-gan", [CHEAP])
        (tmp_path / "moved").rename(tmp_path / "data")
        assert plans_at(tmp_path / "data" / "a.h5") == 2

    def test_a_copied_folder_uses_the_one_of_the_original(self, tmp_path):
        registered(tmp_path / "data", "private")
        shutil.copytree(tmp_path / "data", tmp_path / "copy")
        copy = [tmp_path / "copy" / "a.h5"]
        ledger_of(lookup(copy), copy).reserve("train-gan", [CHEAP])
        assert plans_at(*copy) == plans_at(tmp_path / "data" / "a.h5") == 2

    def test_copies_that_fedprobe_made_use_the_one_of_the_original(self, tmp_path):
        fixed, _ = registered(tmp_path / "data", "private")
        copy = [tmp_path / "struck" / "a.h5"]
        carry(fixed, copy)
        assert plans_at(*copy) == 1
        create(lookup(copy), copy)
        assert not (tmp_path / "struck" / ".fedprobe" / fixed.id / FILE).exists()

    def test_shards_of_two_folders_have_one(self, tmp_path):
        _, files = registered(tmp_path, "private", "one/a.h5", "other/b.h5")
        assert plans_at(files[0]) == plans_at(files[1]) == plans_at(*reversed(files)) == 1

    def test_a_record_elsewhere_has_it_beside_it(self, tmp_path):
        file, record = tmp_path / "data" / "a.h5", tmp_path / "record"
        fixed, _ = register([file], "private", 1000.0, DELTA, record)
        create(fixed, [file], record).reserve("train-gan", [CHEAP])
        assert (record / fixed.id / FILE).exists() and not (tmp_path / "data").exists()
        assert len(ledger_of(lookup([file], record), [file], record).entries()) == 1

    def test_one_that_is_missing_is_refused_on_private_data_and_made_anew_in_a_simulation(self, tmp_path):
        for kind in ("private", "simulation"):
            fixed, files = registered(tmp_path / kind, kind)
            (Path(fixed.ledger) / FILE).unlink()
            if kind == "simulation":
                assert plans_at(*files) == 0
                continue
            with pytest.raises(PrivacyRefusal, match="restore it from a copy") as caught:
                ledger_of(fixed, files)
            assert caught.value.exit_code == 4 and FILE in one_line(caught)

    def test_making_it_again_finds_the_one_there_is(self, tmp_path):
        fixed, files = registered(tmp_path / "data", "private")
        assert len(create(fixed, files).entries()) == 1

    def test_making_it_again_makes_none_where_it_was_before_the_shards_moved(self, tmp_path):
        """New copies of moved shards may lie where these were registered, with a record but no ledger."""
        registered(tmp_path / "data", "private")
        (tmp_path / "data").rename(tmp_path / "moved")
        moved = [tmp_path / "moved" / "a.h5"]
        carry(lookup(moved), [tmp_path / "data" / "struck.h5"])
        fixed, _ = register(moved)
        assert len(create(fixed, moved).entries()) == 1
        assert plans_at(*moved) == 1
        with pytest.raises(PrivacyRefusal, match="missing"):
            plans_at(tmp_path / "data" / "struck.h5")


@pytest.mark.parametrize("limits", [{"below": 1.5}, {"above": -0.1}, {"below": math.nan}, {"above": math.inf}])
def test_the_thresholds_of_a_cell_are_accuracies(limits):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Cell("m", **limits)
