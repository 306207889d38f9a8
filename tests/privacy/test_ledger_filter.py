"""The ledger as a filter: whatever an analyst asks for next, no user is charged more than the budget.

Held against users that are described by their accuracy in each measurement, and charged one by one.
"""

import math
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.entries import Cell, Entry, Part, together
from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.ledger import BudgetRefusal, Ledger, create
from fedprobe.privacy.population import Population

# Below a noise multiplier of 0.3 an epsilon is computed in no time; budgets are as large as such plans need.
NOISES = (0.12, 0.15, 0.2, 0.25, 0.29)
DELTA = 1e-6
DELTAS = (None, DELTA / 20, DELTA / 3, DELTA)
MEASUREMENTS = ("one", "other")
THRESHOLDS = tuple(tenth / 10 for tenth in range(1, 10))
# On each threshold and between any two of them; a user without examples has no accuracy.
ACCURACIES = (*(twentieth / 20 for twentieth in range(21)), math.nan)
USERS = tuple(dict(zip(MEASUREMENTS, both, strict=True)) for both in product(ACCURACIES, repeat=2))
# Sums of floating-point numbers that meet a budget exactly may exceed it by this.
ROUNDING = 1 + 1e-9


def gaussian(noise_multiplier: float) -> SampledGaussian:
    return SampledGaussian(noise_multiplier, 1.0, 1)


@cache
def cost(noises: tuple[float, ...], delta: float) -> float:
    return epsilon([gaussian(noise) for noise in noises], delta).value


def private_ledger(folder: str | Path, budget: float, delta: float = DELTA) -> Ledger:
    home = Path(folder) / "abc"
    home.mkdir(exist_ok=True)
    return create(Population("abc", "private", budget, delta, ledger=str(home)), [Path(folder) / "shard.h5"])


def selects(accuracy: float, below: float | None, above: float | None) -> bool:
    """Whether a device of that accuracy finds itself in a cohort: what `Cell` must agree with."""
    if math.isnan(accuracy):
        return below is None and above is None
    return not (below is not None and accuracy >= below) and not (above is not None and accuracy <= above)


@dataclass
class Watcher:
    """Charges every user for each plan that was let through, by her own accuracies."""

    charges: list[tuple[Callable[[dict], bool], float, float]] = field(default_factory=list)

    def worst(self, *further: tuple[Callable[[dict], bool], float, float]) -> tuple[float, float]:
        """The largest sum of epsilons, and of deltas, over users; with `further` plans, too."""
        charges = [*self.charges, *further]
        touched = [[(spent, delta) for touches, spent, delta in charges if touches(user)] for user in USERS]
        return tuple(max(math.fsum(one[what] for one in plans) for plans in touched) for what in (0, 1))


def everybody(user: dict) -> bool:
    return True


def cohort_of(cell: Cell | None) -> Callable[[dict], bool]:
    return everybody if cell is None else lambda user: selects(user[cell.measurement], cell.below, cell.above)


noises = st.sampled_from(NOISES)
thresholds = st.one_of(st.none(), st.sampled_from(THRESHOLDS))
cells = st.one_of(st.none(), st.builds(Cell, st.sampled_from(MEASUREMENTS), thresholds, thresholds))
rules = st.sampled_from(
    [{"criterion": "random"}]
    + [{"criterion": "low-accuracy", "below": threshold} for threshold in (0.3, 0.5)]
    + [{"criterion": "high-accuracy", "above": threshold} for threshold in (0.5, 0.7)]
)


def study_cost(plans: Sequence[tuple[dict, float]], delta: float) -> float:
    """The epsilon of the parts that hold a user, composed, for the user whom that costs most."""
    held = {
        tuple(noise for rule, noise in plans if selects(accuracy, rule.get("below"), rule.get("above")))
        for accuracy in ACCURACIES
    }
    return max(cost(together, delta) for together in held)


@given(st.data(), st.floats(20, 400), st.booleans())
def test_no_analyst_gets_past_the_budget(data, budget, with_cells):
    watcher = Watcher()
    with TemporaryDirectory() as folder:
        for number in range(data.draw(st.integers(1, 12), "plans")):
            # A new process each time: nothing is kept but the file.
            ledger = private_ledger(folder, budget)
            delta = data.draw(st.sampled_from(DELTAS), "delta")
            at = DELTA / 10 if delta is None else delta
            if data.draw(st.integers(0, 3), "kind") == 0:
                plans = data.draw(st.lists(st.tuples(rules, noises), min_size=1, max_size=3), "study")
                parts = [Part("", "train-gan", rule, (gaussian(noise),)) for rule, noise in plans]
                charge = (everybody, study_cost(plans, at), at)

                def ask(ledger=ledger, number=number, parts=parts, delta=delta):
                    return ledger.declare(f"study {number}", parts, delta=delta)
            else:
                # What is left is public: ask for the dearest plan that it seems to admit, or for anything.
                left = ledger.totals()["left"]["epsilon"]
                fits = [noise for noise in NOISES if cost((noise,), at) <= left]
                greedy = fits and data.draw(st.booleans(), "greedy")
                noise = min(fits) if greedy else data.draw(noises, "noise")
                cell = data.draw(cells, "cell") if with_cells else None
                charge = (cohort_of(cell), cost((noise,), at), at)

                def ask(ledger=ledger, noise=noise, delta=delta, cell=cell):
                    return ledger.reserve("train-gan", [gaussian(noise)], delta=delta, cell=cell)

            spent, delta_spent = watcher.worst(charge)
            fits = spent <= budget * ROUNDING and delta_spent <= DELTA * ROUNDING
            if fits:
                # What a user pays is what the ledger says, so that nothing is refused without need either.
                assert ask().epsilon == charge[1]
                watcher.charges.append(charge)
            else:
                with pytest.raises(BudgetRefusal):
                    ask()
        spent, delta_spent = watcher.worst()
        assert spent <= budget * ROUNDING and delta_spent <= DELTA * ROUNDING
        said = private_ledger(folder, budget).spent()
        assert (said.epsilon, said.delta) == (pytest.approx(spent), pytest.approx(delta_spent))
        assert len(ledger.entries()) == len(watcher.charges)


@given(st.sampled_from(ACCURACIES), thresholds, thresholds)
def test_a_cell_holds_whom_its_rule_selects(accuracy, below, above):
    assert Cell("one", below, above).holds(accuracy) == selects(accuracy, below, above)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_nobody_on_a_threshold_is_on_either_side_of_it(threshold):
    assert not Cell("one", below=threshold).holds(threshold) and not Cell("one", above=threshold).holds(threshold)


def entry_of(cell: Cell | None, epsilon: float = 1.0, delta: float = 1e-7) -> Entry:
    return Entry("", "train-gan", (), epsilon, delta, cell)


entries = st.lists(st.builds(entry_of, cells, st.floats(0, 50), st.floats(0, 1e-3)), max_size=12)


@given(entries, st.randoms(use_true_random=False))
@example([entry_of(Cell("one", below=0.5), 3.0), entry_of(Cell("one", above=0.5), 2.0)], None)
def test_together_is_what_the_user_pays_whom_they_cost_most(entries, random):
    watcher = Watcher([(cohort_of(entry.cell), entry.epsilon, entry.delta) for entry in entries])
    said = together(entries)
    assert (said.epsilon, said.delta) == pytest.approx(watcher.worst())
    shuffled = list(entries)
    if random is not None:
        random.shuffle(shuffled)
    assert together(shuffled) == said


LOW, HIGH = Cell("one", below=0.4), Cell("one", above=0.6)


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ([], 0),
        ([None, None], 3),
        ([LOW, HIGH], 2),
        ([LOW, None], 3),
        ([LOW, LOW], 3),
        ([LOW, Cell("one", above=0.4)], 2),
        ([LOW, Cell("one", above=0.3)], 3),
        ([LOW, Cell("other", above=0.6)], 3),
        ([LOW, Cell("one")], 3),
        ([LOW, HIGH, LOW], 5),
        ([LOW, HIGH, HIGH], 6),
        ([LOW, HIGH, None], 6),
        ([Cell("one", below=0.6), Cell("one", above=0.4), Cell("one", below=0.5, above=0.4)], 7),
    ],
)
def test_cells_count_once_only_where_they_exclude_each_other(held, expected):
    """The plans cost 1, 2, 4; deltas are a tenth of that."""
    priced = [entry_of(cell, 2.0**place, 2.0**place / 10) for place, cell in enumerate(held)]
    said = together(priced)
    assert (said.epsilon, said.delta) == pytest.approx((expected, expected / 10))


@pytest.mark.parametrize("held", [[None], [LOW, HIGH], [HIGH, LOW], [None, LOW]])
def test_an_infinite_plan_costs_somebody_infinitely_much_whatever_else_there_is(held):
    first, *others = held
    assert together([entry_of(first, math.inf), *(entry_of(cell) for cell in others)]).epsilon == math.inf


def _reserve_often(ledger: Ledger, begin, results) -> None:
    begin.wait()
    accepted = 0
    for _ in range(4):
        try:
            ledger.reserve("train-gan", [gaussian(0.2)])
            accepted += 1
        except BudgetRefusal:
            pass
    results.put(accepted)


def _open_often(ledger: Ledger, begin, results) -> None:
    begin.wait()
    numbers = []
    with ledger.rounds_of("run", SampledGaussian(0.2, 1.0, 30)) as rounds:
        try:
            while True:
                numbers.append(rounds.open())
        except BudgetRefusal:
            results.put(numbers)


def at_once(what: Callable, ledger: Ledger, processes: int = 3) -> list:
    """What `processes` forked processes put, that all begin at one moment."""
    forking = multiprocessing.get_context("fork")
    begin, results = forking.Barrier(processes), forking.Queue()
    children = [forking.Process(target=what, args=(ledger, begin, results)) for _ in range(processes)]
    for child in children:
        child.start()
    found = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join()
        assert child.exitcode == 0
    return found


def test_as_many_plans_fit_at_once_as_one_after_another(tmp_path):
    one = cost((0.2,), DELTA / 10)
    ledger = private_ledger(tmp_path, 5.5 * one)
    assert sum(at_once(_reserve_often, ledger)) == 5
    assert len({entry.id for entry in ledger.entries()}) == 5
    assert ledger.spent().epsilon == pytest.approx(5 * one)


def test_a_round_is_given_out_once_whoever_asks(tmp_path):
    ledger = private_ledger(tmp_path, 1e4)
    ledger.reserve("train-gan", [SampledGaussian(0.2, 1.0, 30)], run="run")
    given_out = at_once(_open_often, ledger)
    assert sorted(number for numbers in given_out for number in numbers) == list(range(1, 31))
    assert all(numbers == sorted(numbers) for numbers in given_out)
    assert ledger.rounds_left("run", SampledGaussian(0.2, 1.0, 30)) == 0
