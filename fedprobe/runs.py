"""A run directory: what a training left behind, and the way back into it.

    config.json      how it was made: command, preset, every hyperparameter used, the cohort's rule
    privacy.json     what was planned: its event, its delta, what it is conditional on
    rounds_opened    one byte for each round that was opened, those that a crash lost included
    metrics.jsonl    one line a round, of released figures only
    checkpoints/     round_000200/: tensors.safetensors and manifest.json (nothing is ever unpickled)
    vocabulary.txt   the words of a word model, or those that the cohort's words are outside of
    samples/         synthetic samples
    card.md          what was done and what the guarantee covers, for a person

What was learned of the users was released through the wall, so whoever receives it may read all of it; but of a
simulation, which is public, it holds exact figures as well: the cohort's count, the OOV rate, a counted vocabulary.
"""

import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from torch import Tensor

from fedprobe.errors import FedprobeError
from fedprobe.models.stored import StoredError, load_stored, store
from fedprobe.models.vocabulary import Vocabulary, VocabularyError, read_vocabulary, write_vocabulary
from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.population import write_json
from fedprobe.privacy.rules import CohortRule, exclusive
from fedprobe.privacy.statement import PrivacyStatement, compose, state

_VOCABULARY = "vocabulary.txt"
# What runs of before were trained with, which do not say it.
_UNSAID = {"precision": "float32", "dropout": 0.0, "distinct": False}
_FREE_ON_RESUME = ("training", "rounds", "device", "shards")
_STATED = (
    *("users_per_round", "population", "conditional_on", "simulation"),
    *("participation", "noise_multiplier", "ledger"),
)
_CHECKPOINT = re.compile(r"round_(\d{6,})")


class RunError(FedprobeError):
    """The run directory cannot be used as asked."""

    exit_code = 2


@dataclass(frozen=True)
class Run:
    """A run directory. `Run.create` makes one, `Run.open` finds one; a checkpoint's folder names its run too."""

    path: Path

    @classmethod
    def create(cls, path: Path, config: dict, privacy: dict, vocabulary: Vocabulary | None = None) -> "Run":
        """Make the directory, whole or not at all. Raises RunError if it is there already."""
        cls.require_free(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.temporary")
        if temporary.exists():
            shutil.rmtree(temporary)
        (temporary / "checkpoints").mkdir(parents=True)
        (temporary / "samples").mkdir()
        write_json(temporary / "config.json", config)
        write_json(temporary / "privacy.json", privacy)
        if vocabulary is not None:
            write_vocabulary(temporary / _VOCABULARY, vocabulary)
        os.replace(temporary, path)
        return cls(path)

    @staticmethod
    def require_free(path: Path) -> None:
        """Raise RunError if something is at `path` already."""
        if path.exists():
            raise RunError(f"{path} exists; choose another --output, or go on with --resume")

    @classmethod
    def open(cls, path: Path) -> "Run":
        """The run at `path`. Raises RunError if there is none."""
        if not (path / "config.json").is_file():
            what = "is not a run" if path.exists() else "is not a run (nothing is there)"
            if (path / "manifest.json").is_file():
                what = "is not a run, but a model or a checkpoint"
            raise RunError(f"{path} {what}; give a folder of train-gan, train-charlm or train-wordlm")
        return cls(path)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def config(self) -> dict:
        return self._read("config.json")

    @property
    def privacy(self) -> dict:
        return self._read("privacy.json")

    @property
    def run_id(self) -> str:
        """What the ledger calls the run. Raises StoredError where it does not say."""
        run_id = self.privacy.get("run_id")
        if not isinstance(run_id, str) or not run_id.isalnum():
            raise StoredError(f"{self.path / 'privacy.json'} does not say what the ledger calls the run; train again")
        return run_id

    @property
    def extended(self) -> bool:
        """Whether rounds were added to what was declared at first, which the ledger adds up as a plan of their own."""
        return self.privacy.get("extended") is True

    @property
    def vocabulary(self) -> Vocabulary:
        """The words of a word model, or of the vocabulary that the cohort is outside of.

        Raises StoredError where they are not those it was trained with.
        """
        try:
            vocabulary = read_vocabulary(self.path / _VOCABULARY)
        except VocabularyError as error:
            raise StoredError(f"{self.path / _VOCABULARY} is missing or damaged; train again") from error
        if vocabulary.digest != self.config.get("vocabulary"):
            raise StoredError(f"{self.path / _VOCABULARY} is another vocabulary than the run was trained with")
        return vocabulary

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    def plan(self, config: dict, privacy: dict) -> None:
        """Go on with this run: write down a plan that differs from the one before in nothing but more rounds.

        Raises as `require_same`.
        """
        self.require_same(config)
        write_json(self.path / "privacy.json", privacy)
        write_json(self.path / "config.json", config)

    def require_same(self, config: dict) -> None:
        """Raise RunError unless `config` differs from this run's in nothing but more rounds, device and shards' paths.

        Raises StoredError where the run does not say how it was trained.
        """
        before = self.config
        if not isinstance(before.get("training"), dict):
            raise StoredError(f"{self.path / 'config.json'} does not say how the run was trained; train again")
        different = [
            name
            for part, now in ((before, config), (before["training"], config["training"]))
            for name, value in now.items()
            if name not in _FREE_ON_RESUME and _said(part, name, value) != value
        ]
        if different:
            raise RunError(
                f"this run was started with another {', '.join(different)}; give --resume the options it had then"
            )
        if config["training"]["rounds"] < before["training"]["rounds"]:
            raise RunError("a resumed run may have more --rounds than before, not fewer")

    def statement(
        self, delta: float | None = None, accountant: str = "auto", rounds_ahead: int = 0
    ) -> PrivacyStatement:
        """What the run may reveal: its plan, or the rounds it opened and those `rounds_ahead` where they are more.

        `delta` None takes the plan's. Raises ValueError as `accountants.epsilon` does.
        """
        plan = self.privacy
        try:
            event = SampledGaussian.from_json(plan["event"])
            known = {name: plan[name] for name in _STATED}
            planned_delta = plan["delta"]
            if type(planned_delta) is not float or not 0 < planned_delta < 1:
                raise ValueError("no delta")
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise StoredError(
                f"{self.path / 'privacy.json'} does not say what the run released; train again"
            ) from error
        opened = self.rounds_opened + rounds_ahead
        if delta is None:
            # Each release beyond the plan, after one that a crash lost, brings what its threshold takes.
            delta = planned_delta + max(0, opened - event.rounds) * event.threshold_delta
        return state(
            event,
            delta=delta,
            accountant=accountant,
            rounds_opened=opened,
            extended=self.extended or opened > event.rounds,
            runs=[str(self.path)],
            **known,
        )

    @property
    def rule(self) -> CohortRule:
        """The rule of the run's cohort. Raises StoredError where the run does not say."""
        try:
            return CohortRule(**self.config["cohort"]["rule"])
        except (KeyError, TypeError, ValueError) as error:
            raise StoredError(f"{self.path / 'config.json'} does not say whose run it is; train again") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for one process. Raises RunError where another one trains it."""
        with (self.path / "rounds_opened").open("ab") as file:
            try:
                flock(file, LOCK_EX | LOCK_NB)
            except BlockingIOError as error:
                raise RunError(f"another process trains {self.path}; wait for it, or stop it") from error
            yield

    def open_round(self) -> int:
        """Count one more round as opened, durably and before its users are drawn; return the count.

        A round that a crash lost stays counted: its users were asked.
        """
        path = self.path / "rounds_opened"
        with path.open("ab") as file:
            file.write(b".")
            file.flush()
            os.fsync(file.fileno())
        return self.rounds_opened

    @property
    def rounds_opened(self) -> int:
        """How many rounds were opened so far, those that a crash lost included."""
        path = self.path / "rounds_opened"
        return path.stat().st_size if path.exists() else 0

    def log(self, figures: dict) -> None:
        """Append one line of released figures to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(figures) + "\n")

    def metrics(self) -> list[dict]:
        """The logged figures, one object a round; a last line that a crash cut short is left out."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def forget_metrics_after(self, round: int) -> None:
        """Drop the figures of rounds after `round`, which a resumed run does again."""
        kept = [json.dumps(figures) + "\n" for figures in self.metrics() if figures["round"] <= round]
        temporary = self.path / ".metrics.temporary"
        temporary.write_text("".join(kept))
        os.replace(temporary, self.path / "metrics.jsonl")

    def checkpoint(self, round: int, tensors: dict[str, Tensor]) -> Path:
        """Write the state after `round`, whole or not at all; return its folder."""
        folder = self.path / "checkpoints" / f"round_{round:06d}"
        store(folder, tensors, {"round": round})
        return folder

    def checkpoints(self) -> list[Path]:
        """The checkpoints' folders, by round."""
        inside = self.path / "checkpoints"
        folders = inside.iterdir() if inside.is_dir() else ()
        named = ((_CHECKPOINT.fullmatch(folder.name), folder) for folder in folders)
        return [folder for _, folder in sorted((int(match[1]), folder) for match, folder in named if match)]

    def load(self, checkpoint: Path | None = None) -> tuple[dict[str, Tensor], int]:
        """The tensors and the round of `checkpoint`, by default the latest one.

        Raises StoredError where it was cut short or altered, RunError where there is none.
        """
        if checkpoint is None:
            checkpoints = self.checkpoints()
            if not checkpoints:
                raise RunError(f"{self.path} has no checkpoint yet; let it train, or go on with --resume")
            checkpoint = checkpoints[-1]
        tensors, description = load_stored(checkpoint)
        if f"round_{description.get('round', -1):06d}" != checkpoint.name:
            raise StoredError(f"{checkpoint} holds another round than its name says; train again")
        return tensors, description["round"]

    def _read(self, name: str) -> dict:
        try:
            value = json.loads((self.path / name).read_text())
        except (OSError, ValueError) as error:
            raise StoredError(f"{self.path / name} is missing or damaged; train again") from error
        if not isinstance(value, dict):
            raise StoredError(f"{self.path / name} is not a JSON object; train again")
        return value


def find(path: Path) -> tuple[Run, Path | None]:
    """The run that `path` names, and the checkpoint if `path` is the folder of one."""
    if _CHECKPOINT.fullmatch(path.name) and path.parent.name == "checkpoints":
        return Run.open(path.parent.parent), path
    return Run.open(path), None


def free_name(folder: Path, stem: str) -> Path:
    """`folder`/`stem`-N with the smallest N from 1 that is not taken."""
    number = 1
    while (folder / f"{stem}-{number}").exists():
        number += 1
    return folder / f"{stem}-{number}"


def statement_together(runs: Sequence[Run], delta: float | None = None, accountant: str = "auto") -> PrivacyStatement:
    """What several runs together may reveal about one user.

    Runs compose in parallel only where the rules of any two cohorts exclude each other under one frozen measurement of
    one population; otherwise everything composes, which bounds the parts of one study and is indicative of others.
    """
    return compose(
        [run.statement(delta, accountant) for run in runs],
        exclusive=all(itertools.starmap(_share_nobody, itertools.combinations(runs, 2))),
        planned_together=_of_one_study(runs),
        accountant=accountant,
        delta=delta,
    )


def _of_one_study(runs: Sequence[Run]) -> bool:
    """Whether all are parts of one study; two populations may each have one of the same name."""
    studies = [(run.privacy.get("population_id"), run.privacy.get("study")) for run in runs]
    return None not in studies[0] and all(one == studies[0] for one in studies)


def _share_nobody(one: Run, other: Run) -> bool:
    plans = one.privacy, other.privacy
    same = all(plans[0].get(name) == plans[1].get(name) is not None for name in ("population_id", "measurement"))
    return same and exclusive(one.rule, other.rule)


def _said(before: dict, name: str, now: object) -> object:
    """What a run of before says of `name`, or what it did not have to say then."""
    said = before.get(name, _UNSAID.get(name))
    if isinstance(said, dict) and isinstance(now, dict):
        return {one: value for one, value in _UNSAID.items() if one in now} | said
    return said
