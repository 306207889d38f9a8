"""What a report says of the runs themselves: cohort, rounds, epsilon, card, ledger, hyperparameters, how to repeat."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedprobe.errors import RequestError
from fedprobe.modeler.epsilon_plot import epsilon_curves
from fedprobe.modeler.report.charts import Chart, epsilon_chart
from fedprobe.modeler.report.reproduce import command_of
from fedprobe.modeler.report.verdict import Opened
from fedprobe.modeler.word_table import is_word_table
from fedprobe.models.stored import StoredError
from fedprobe.privacy.accountants import CannotAccount
from fedprobe.privacy.statement import PrivacyStatement, figure

_KINDS = {
    "images": "a generator of images",
    "words": "a model of words",
    "sentences": "a model of sentences",
    "classifier": "a classifier of images, which has no samples",
}


@dataclass(frozen=True)
class About:
    """One run for a person: facts by name, the command that trained it, the lines of its card (None without one)."""

    name: str
    facts: Sequence[tuple[str, str]]
    command: Sequence[str]
    card: Sequence[str] | None
    hyperparameters: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """Runs of one plan, and what that plan costs as its rounds go on."""

    names: Sequence[str]
    chart: Chart


@dataclass(frozen=True)
class LedgerRow:
    """What the ledger of a run's population held when the run's plan was declared.

    `spent` is the epsilon as a number, infinite where it is; `population` the id.
    """

    name: str
    population: str | None
    spent: float
    epsilon: str
    delta: str
    budget: str
    left: str
    rule: str
    study: str | None


def about(opened: Opened, statement: PrivacyStatement) -> About:
    """Say what a run is. Raises StoredError where its files do not hold what they should."""
    run = opened.run
    try:
        config, card = run.config, run.path / "card.md"
        training = config["training"]
        rule = run.rule
        facts = [
            _makes(opened),
            ("cohort", f"{rule.criterion}: {rule.says()}"),
            *([("users", _count(config["cohort"]))] if config["cohort"].get("count") is not None else []),
            ("shown", f"after round {opened.round} of {training['rounds']}"),
            ("epsilon", f"{figure(statement.bound.value)} (delta {statement.delta:.3g})"),
            ("conditional on", statement.conditional_on or "nothing"),
            ("data", "a simulation: public proxy data" if statement.simulation else "private"),
        ]
        # A link would show a file of the reader's own to whoever gets the report.
        own = card.is_file() and not card.is_symlink()
        lines = card.read_text(encoding="utf-8", errors="replace").splitlines() if own else None
        values = {name.replace("_", " "): _value(value) for name, value in training.items()}
        return About(opened.name, facts, command_of(run), lines, values)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StoredError(f"{run.path / 'config.json'} does not say how the run was trained; train again") from error


def plans(opened: Sequence[Opened], statements: Sequence[PrivacyStatement]) -> list[Plan]:
    """A chart for every distinct plan of more than one round; none where its accountant cannot draw it."""
    together: dict[tuple, list[str]] = {}
    for one, said in zip(opened, statements, strict=True):
        together.setdefault((said.events[0], said.noise_multiplier, said.delta, said.participation), []).append(
            one.name
        )
    found = []
    for (event, noise_multiplier, delta, participation), names in together.items():
        if event.rounds < 2:
            continue
        try:
            curves = epsilon_curves(event, noise_multiplier, delta, participation)
        except (CannotAccount, RequestError):
            continue
        found.append(Plan(names, epsilon_chart(curves)))
    return found


def ledger_row(opened: Opened) -> LedgerRow:
    """The totals that the run itself keeps. Raises StoredError where it keeps none."""
    plan = opened.run.privacy
    try:
        ledger = plan["ledger"]
        budget, left = ledger["budget"], ledger["left"]
        return LedgerRow(
            opened.name,
            plan.get("population_id"),
            _number(ledger["spent"]),
            _epsilon(ledger["spent"]),
            f"{ledger['spent']['delta']:.3g}",
            "none set" if budget is None else _epsilon(budget),
            "no limit" if left is None else _epsilon(left),
            ledger["rule"],
            plan.get("study"),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StoredError(
            f"{opened.run.path / 'privacy.json'} does not hold the ledger's totals; train again"
        ) from error


def _makes(opened: Opened) -> tuple[str, str]:
    command = f"fedprobe {opened.run.config['command']}"
    if is_word_table(opened.run):
        return "holds", f"words that many users have, released once by {command} --method one-round"
    return "makes", f"{_KINDS[opened.kind]}, trained by {command}"


def _count(cohort: dict) -> str:
    exact = cohort.get("count_is") == "exact-simulation"
    return f"{cohort['count']:,.0f} ({'exact: a simulation' if exact else 'a DP release'})"


def _number(total: dict) -> float:
    # JSON has no infinity: a total without a number is one.
    return math.inf if total["epsilon"] is None else total["epsilon"]


def _epsilon(total: dict) -> str:
    return figure(_number(total))


def _value(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
