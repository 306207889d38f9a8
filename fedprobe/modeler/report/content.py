"""What a report says, before it is laid out: epsilon first, then findings, samples, and the runs themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from fedprobe import __version__
from fedprobe.modeler.comparison import cohort_caution, kind_of, names_of, primary_of
from fedprobe.modeler.findings import LOOKED_FOR
from fedprobe.modeler.findings.finding import Finding
from fedprobe.modeler.report.about import About, LedgerRow, Plan, about, ledger_row, plans
from fedprobe.modeler.report.images import ImagesSection, image_sections
from fedprobe.modeler.report.reproduce import report_command
from fedprobe.modeler.report.text import SentencesSection, sentences_sections, words_sections
from fedprobe.modeler.report.verdict import Opened
from fedprobe.modeler.report.words import WordsSection
from fedprobe.modeler.sampling import open_sampler
from fedprobe.modeler.text_sampling import open_text_sampler
from fedprobe.modeler.word_table import is_word_table, open_word_table
from fedprobe.models.classifier import Classifier
from fedprobe.models.primary import load_primary
from fedprobe.privacy.statement import MEANINGFUL_EPSILON, PrivacyStatement
from fedprobe.runs import Run, find, statement_together

# Words to show of a run.
TOP = 20
_MOST_NAMED = 4


@dataclass(frozen=True)
class Report:
    """All that a report shows. `sections` are of images, words and sentences, in this order, where there are any."""

    opened: Sequence[Opened]
    statement: PrivacyStatement
    sections: Sequence[ImagesSection | WordsSection | SentencesSection]
    runs: Sequence[About]
    plans: Sequence[Plan]
    ledger: Sequence[LedgerRow]
    command: Sequence[str]
    seed: int
    made: date = field(default_factory=date.today)
    version: str = __version__

    @property
    def title(self) -> str:
        names = [one.name for one in self.opened]
        if len(names) > _MOST_NAMED:
            names[_MOST_NAMED - 1 :] = [f"{len(names) - _MOST_NAMED + 1} other runs"]
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

    @property
    def summary(self) -> str:
        """The report in one line: the strongest finding in words, or that there is none."""
        if self.findings:
            (strongest, _), *others = self.findings
            more = f"; {len(others)} more finding{'s' * (len(others) > 1)} below" if others else ""
            return f"Found: {strongest.says} ({strongest.name}, strength {strongest.strength:.2f}{more})."
        if self.looked_for:
            return "Nothing was found."
        return "Nothing was compared: it takes two runs of a kind, with something in them."

    @property
    def findings(self) -> list[tuple[Finding, int]]:
        """Every finding with the number of the section that it was made in: causes, strongest first, then symptoms."""
        found = [
            (finding, number)
            for number, section in enumerate(self.sections, 1)
            for verdict in section.verdicts
            for finding in verdict.findings
        ]
        return sorted(found, key=lambda one: (one[0].symptom, -one[0].strength))

    @property
    def caution(self) -> str | None:
        """What must be said of findings between different cohorts."""
        return cohort_caution([one.run for one in self.opened if one.sampler is not None])

    @property
    def looked_for(self) -> str:
        """What was looked for, in words; empty where nothing was compared."""
        verdicts = [verdict for section in self.sections for verdict in section.verdicts]
        return ", ".join(dict.fromkeys(name for verdict in verdicts for name in verdict.names))

    @property
    def hyperparameter_headings(self) -> list[str]:
        return ["name", *(run.name for run in self.runs)]

    @property
    def hyperparameters(self) -> list[list[str]]:
        """One row a hyperparameter, one column a run; empty where a run has no such thing."""
        names = dict.fromkeys(name for run in self.runs for name in run.hyperparameters)
        return [[name, *(run.hyperparameters.get(name, "") for run in self.runs)] for name in names]

    @property
    def epsilon(self) -> tuple[str, str]:
        """The figure as the statement's first line has it, and the rest of that line."""
        value, *rest = self.statement.lines()[0].split("   ")
        return value, ", ".join(part.strip("()") for part in rest)

    @property
    def totals(self) -> list[str]:
        """What each population's ledger held when the last of its runs was declared, which is more than these runs."""
        last: dict[str | None, LedgerRow] = {}
        for row in sorted(self.ledger, key=lambda row: row.spent):
            last[row.population] = row
        whose = "the" if len(last) == 1 else "{}'s"
        return [
            f"The ledger of {whose.format(row.name)} population stands at {row.epsilon} (delta {row.delta}), adding up "
            "every release, those that are not shown here, too. For its users this total is what counts."
            for row in last.values()
        ]

    @property
    def delta_together(self) -> str | None:
        """Why the delta of all runs together is none of theirs; None where it is one of them."""
        said = self.statement
        if not said.parts or any(part.delta == said.delta for part in said.parts):
            return None
        noise = said.delta - said.threshold_delta
        return (
            f"Delta is {said.delta:.3g}, more than any run's own: the threshold of every run takes its own part of it, "
            f"{said.threshold_delta:.3g} in all, and {noise:.3g} is for their noise together."
        )

    @property
    def protects(self) -> bool:
        """Whether the figure is a bound, and small enough to be a protection by itself."""
        return self.statement.valid and self.statement.bound.value <= MEANINGFUL_EPSILON

    @property
    def beside_epsilon(self) -> list[str]:
        """Everything else that must be said beside the figure, its sentence left out."""
        return [line for line in self.statement.lines()[1:] if line != self.statement.sentence()]


def make_report(
    paths: Sequence[Path],
    primary: Path | None = None,
    count: int | None = None,
    top: int = TOP,
    seed: int = 0,
    output: Path | None = None,
) -> Report:
    """Read runs, or checkpoints of them, and say what there is to say; the first of each kind is the healthy one.

    `primary` is by default the model that the first images' cohort was measured with; `output` is where the report was
    asked for, for the command that repeats it. Opens nothing but run
    directories and that model. Raises RunError and StoredError for what is no whole run, ComparisonError where the
    primary model takes other images.
    """
    opened = [_opened(path) for path in paths]
    opened = [replace(one, name=name) for one, name in zip(opened, names_of(opened), strict=True)]
    of = {kind: [one for one in opened if one.kind == kind] for kind in LOOKED_FOR}
    statements = [one.run.statement() for one in opened]
    runs = [about(one, said) for one, said in zip(opened, statements, strict=True)]
    ledger = [ledger_row(one) for one in opened]
    sections: list = []
    if of["images"]:
        sections += image_sections(of["images"], _primary(primary, of["images"][0].run), count, seed)
    if of["words"]:
        sections += words_sections(of["words"], count, top, seed)
    if of["sentences"]:
        sections += sentences_sections(of["sentences"], count, seed)
    return Report(
        opened,
        statement_together(list({one.run.path.resolve(): one.run for one in opened}.values())),
        sections,
        runs,
        plans(opened, statements),
        ledger,
        report_command(paths, primary=primary, count=count, top=None if top == TOP else top, seed=seed, output=output),
        seed,
    )


def _opened(path: Path) -> Opened:
    run, checkpoint = find(path)
    if run.config.get("command") == "train-classifier":
        return Opened(run, run.load(checkpoint)[1], path, "classifier", None)
    kind = kind_of(run)
    if is_word_table(run):
        sampler = open_word_table(path)
    else:
        sampler = open_sampler(path) if kind == "images" else open_text_sampler(path)
    return Opened(run, sampler.round, path, kind, sampler)


def _primary(given: Path | None, run: Run) -> Classifier | None:
    folder = given or primary_of(run)
    return None if folder is None else load_primary(folder)[0]
