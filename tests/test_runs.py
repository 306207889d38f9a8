"""Run directories: whole or absent, read back in order, and counting every round that users were asked for."""

import contextlib
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedprobe.models.stored import StoredError
from fedprobe.models.vocabulary import Vocabulary, write_vocabulary
from fedprobe.privacy.accountants import epsilon
from fedprobe.privacy.events import SampledGaussian
from fedprobe.privacy.population import write_json
from fedprobe.runs import Run, RunError, find, free_name, statement_together

Q = 0.05
# A word that no message may hold.
STREET = "Oak Street"


def privacy_of(rounds: int, noise_multiplier: float = 1.0, delta: float = 1e-6, **more) -> dict:
    return {
        "event": SampledGaussian(noise_multiplier, Q, rounds).to_json(),
        "delta": delta,
        "users_per_round": 10,
        "population": 200,
        "conditional_on": None,
        "simulation": True,
        "population_id": "population one",
        "measurement": "measurement one",
        "participation": "poisson",
        "noise_multiplier": noise_multiplier,
        "ledger": None,
        **more,
    }


def cohort(criterion: str = "random", **thresholds) -> dict:
    return {"cohort": {"rule": {"criterion": criterion, **thresholds}}}


LOW = cohort("low-accuracy", below=0.8)
HIGH = cohort("high-accuracy", above=0.9)


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.create(tmp_path / "run", cohort(), privacy_of(5))


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"critic": torch.full((3,), value)}


class TestCreating:
    def test_what_was_written_is_read_back(self, tmp_path):
        made = Run.create(tmp_path / "deep" / "run", cohort(), privacy_of(5))
        opened = Run.open(tmp_path / "deep" / "run")
        assert opened == made
        assert (opened.name, opened.config, opened.privacy) == ("run", cohort(), privacy_of(5))
        assert opened.rule.criterion == "random"
        assert (opened.rounds_opened, opened.metrics(), opened.checkpoints()) == (0, [], [])
        assert opened.samples.is_dir()
        assert os.listdir(tmp_path / "deep") == ["run"]

    @pytest.mark.parametrize("kind", ["run", "folder", "file"])
    def test_an_existing_path_is_refused_and_left_alone(self, tmp_path, kind):
        path = tmp_path / "run"
        match kind:
            case "run":
                Run.create(path, cohort(), privacy_of(5))
            case "folder":
                path.mkdir()
            case "file":
                path.write_text("mine")
        before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
        with pytest.raises(RunError, match="--resume"):
            Run.create(path, {}, {})
        assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before

    @pytest.mark.parametrize("fails_at", ["config.json", "privacy.json", "vocabulary.txt", "rename"])
    def test_it_is_whole_or_not_there_and_can_be_tried_again(self, tmp_path, monkeypatch, fails_at):
        def refuse(*arguments):
            raise OSError("no space left on device")

        def write(path, value):
            return refuse() if path.name == fails_at else write_json(path, value)

        with monkeypatch.context() as broken:
            match fails_at:
                case "rename":
                    broken.setattr("fedprobe.runs.os.replace", refuse)
                case "vocabulary.txt":
                    broken.setattr("fedprobe.runs.write_vocabulary", refuse)
                case _:
                    broken.setattr("fedprobe.runs.write_json", write)
            with pytest.raises(OSError):
                Run.create(tmp_path / "run", cohort(), privacy_of(5), WORDS)
        assert not (tmp_path / "run").exists()
        assert Run.create(tmp_path / "run", cohort(), privacy_of(5)).privacy == privacy_of(5)

    @pytest.mark.parametrize("content", ["", "{", "[]", "null", '"text"', "\udcff"])
    @pytest.mark.parametrize("name", ["config", "privacy"])
    def test_a_damaged_description_is_noticed(self, run, name, content):
        (run.path / f"{name}.json").write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(StoredError, match=f"{name}.json"):
            getattr(run, name)

    def test_the_first_free_number_is_taken(self, tmp_path):
        for taken in ("low-1", "low-2", "low-4"):
            (tmp_path / taken).mkdir()
        assert free_name(tmp_path, "low") == tmp_path / "low-3"
        assert free_name(tmp_path / "nowhere", "low") == tmp_path / "nowhere" / "low-1"


WORDS = Vocabulary(("quokka", "zebra", "good day"))


class TestVocabulary:
    """The words of a word model lie in its run, and no others pass for them."""

    def made(self, folder: Path, **named) -> Run:
        return Run.create(folder / "run", {**cohort(), "vocabulary": WORDS.digest, **named}, privacy_of(5), WORDS)

    def noticed(self, run: Run, says: str) -> None:
        with pytest.raises(StoredError, match=says) as refused:
            _ = run.vocabulary
        assert refused.value.exit_code == 3
        assert not any(word in str(refused.value) for word in (*WORDS.words, STREET))

    def test_they_are_read_back_in_their_order(self, tmp_path):
        self.made(tmp_path)
        assert Run.open(tmp_path / "run").vocabulary == WORDS

    @pytest.mark.parametrize("words", [("zebra", "quokka", "good day"), WORDS.words[:2], (*WORDS.words, STREET)])
    def test_another_vocabulary_is_refused(self, tmp_path, words):
        run = self.made(tmp_path)
        write_vocabulary(run.path / "vocabulary.txt", Vocabulary(words))
        self.noticed(run, "another vocabulary")

    @settings(max_examples=50)
    @given(st.data())
    def test_any_altered_byte_is_noticed(self, data):
        with TemporaryDirectory() as folder:
            run = self.made(Path(folder))
            file = run.path / "vocabulary.txt"
            content = bytearray(file.read_bytes())
            # All but the last line break, which need not be there.
            position = data.draw(st.integers(0, len(content) - 2))
            content[position] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[position]))
            assume((content[position], file.read_bytes()[position]) != (ord("\r"), ord("\n")))
            file.write_bytes(content)
            self.noticed(run, "vocabulary.txt")

    @pytest.mark.parametrize("content", [None, "", f"{STREET}\n{STREET}\n", f"{STREET}\n\n", "\udcff"])
    def test_a_missing_or_damaged_one_is_noticed_and_no_word_of_it_said(self, tmp_path, content):
        run = self.made(tmp_path)
        (run.path / "vocabulary.txt").unlink()
        if content is not None:
            (run.path / "vocabulary.txt").write_bytes(content.encode(errors="surrogateescape"))
        self.noticed(run, "missing or damaged")

    @pytest.mark.parametrize("said", [None, "", 7])
    def test_a_run_that_names_none_has_none(self, tmp_path, said):
        self.noticed(self.made(tmp_path, vocabulary=said), "another vocabulary")

    def test_a_run_without_words_leaves_no_file_of_them(self, run):
        assert not (run.path / "vocabulary.txt").exists()
        self.noticed(run, "missing")


class TestGoingOn:
    """`plan`: what a resumed run may have changed, and what not."""

    BEFORE = {
        "method": "fedavg",
        "seed": 0,
        "device": "cpu",
        "shards": ["shards"],
        "population": 200,
        **LOW,
        "training": {"rounds": 5, "noise_multiplier": 1.0, "clip_norm": 0.1},
    }

    def changed(self, **changes) -> dict:
        """`BEFORE` with changes to it or to its hyperparameters."""
        training = {name: changes.pop(name, value) for name, value in self.BEFORE["training"].items()}
        return {**self.BEFORE, **changes, "training": training}

    @pytest.fixture
    def begun(self, tmp_path) -> Run:
        return Run.create(tmp_path / "run", self.BEFORE, privacy_of(5))

    @pytest.mark.parametrize("changes", [{}, {"rounds": 9}, {"rounds": 9, "device": "cuda", "shards": ["elsewhere"]}])
    def test_more_rounds_another_device_and_another_place_of_the_shards_are_a_new_plan(self, begun, changes):
        begun.open_round()
        begun.plan(self.changed(**changes), privacy_of(9))
        again = Run.open(begun.path)
        assert (again.config, again.privacy, again.rounds_opened) == (self.changed(**changes), privacy_of(9), 1)

    @pytest.mark.parametrize(
        "name, value",
        [
            ("method", "other"),
            ("seed", 1),
            ("population", 100),
            ("vocabulary", WORDS.digest),
            ("cohort", HIGH["cohort"]),
            ("noise_multiplier", 0.5),
            ("clip_norm", 0.2),
            ("new", "option"),
        ],
    )
    def test_anything_else_is_refused_by_name_and_changes_nothing(self, begun, name, value):
        with pytest.raises(RunError, match=f"another {name};"):
            begun.plan(self.changed(**{name: value}, rounds=9), privacy_of(9))
        assert (begun.config, begun.privacy) == (self.BEFORE, privacy_of(5))

    def test_fewer_rounds_are_refused_and_change_nothing(self, begun):
        with pytest.raises(RunError, match="not fewer"):
            begun.plan(self.changed(rounds=4), privacy_of(4))
        assert (begun.config, begun.privacy) == (self.BEFORE, privacy_of(5))

    @pytest.mark.parametrize("training", [None, "many rounds"])
    def test_a_run_that_does_not_say_how_it_was_trained_cannot_go_on(self, tmp_path, training):
        begun = Run.create(tmp_path / "run", {**self.BEFORE, "training": training}, privacy_of(5))
        with pytest.raises(StoredError, match="config.json"):
            begun.plan(self.BEFORE, privacy_of(5))


class TestLock:
    def test_a_run_is_held_by_one_at_a_time_and_let_go_of_at_the_end(self, run):
        for _ in range(2):
            with run.locked():
                with pytest.raises(RunError, match="another process"), Run.open(run.path).locked():
                    pass
                # Still held: having asked for it in vain takes nothing away.
                with pytest.raises(RunError), Run.open(run.path).locked():
                    pass

    def test_a_failure_inside_lets_go_of_it(self, run):
        with pytest.raises(ZeroDivisionError), run.locked():
            raise ZeroDivisionError
        with run.locked():
            pass

    def test_it_opens_no_round_and_stands_in_the_way_of_none(self, run):
        with run.locked():
            assert Run.open(run.path).rounds_opened == 0
            assert run.open_round() == 1
        assert run.rounds_opened == 1

    def test_two_runs_are_held_apart(self, run, tmp_path):
        other = Run.create(tmp_path / "other", cohort(), privacy_of(5))
        with run.locked(), other.locked():
            pass


class TestFinding:
    def test_a_run_by_its_folder(self, run):
        assert find(run.path) == (run, None)

    def test_a_checkpoint_by_its_folder_and_the_run_that_it_belongs_to(self, run):
        run.checkpoint(3, tensors(3))
        later = run.checkpoint(1_234_567, tensors(4))
        assert find(later) == (run, later)
        assert Run.load(*find(run.path / "checkpoints" / "round_000003"))[1] == 3

    @pytest.mark.parametrize("path", ["", "run/checkpoints", "run/samples", "nowhere", "run/checkpoints/round_3"])
    def test_anything_else_is_no_run(self, run, path):
        with pytest.raises(RunError, match="is not a run"):
            find(run.path.parent / path)

    def test_a_checkpoint_outside_a_run_is_no_run(self, tmp_path):
        (tmp_path / "checkpoints" / "round_000001").mkdir(parents=True)
        with pytest.raises(RunError):
            find(tmp_path / "checkpoints" / "round_000001")

    @pytest.mark.parametrize("inside, path", [("", "."), ("checkpoints", ".."), ("", "checkpoints/round_000003")])
    def test_a_run_has_its_name_from_inside_it_too(self, run, monkeypatch, inside, path):
        run.checkpoint(3, tensors(3))
        monkeypatch.chdir(run.path / inside)
        assert find(Path(path))[0].name == "run"


class TestCheckpoints:
    def test_they_are_in_the_order_of_their_rounds_beyond_six_digits_too(self, run):
        rounds = [10_000_000, 2, 999_999, 1_000_000, 1, 20]
        folders = {round: run.checkpoint(round, tensors(round)) for round in rounds}
        assert run.checkpoints() == [folders[round] for round in sorted(rounds)]
        latest, round = run.load()
        assert (round, latest["critic"].tolist()) == (10_000_000, [1e7] * 3)

    @settings(deadline=None, max_examples=15)
    @given(st.dictionaries(st.integers(0, 10**8), st.floats(-1e6, 1e6, width=32), min_size=1, max_size=5))
    def test_each_is_read_back_and_the_latest_by_default(self, written):
        with TemporaryDirectory() as folder:
            run = Run.create(Path(folder) / "run", {}, {})
            for round, value in written.items():
                run.checkpoint(round, tensors(value))
            for checkpoint, round in zip(run.checkpoints(), sorted(written), strict=True):
                back, stored_round = run.load(checkpoint)
                assert stored_round == round
                assert torch.equal(back["critic"], tensors(written[round])["critic"])
            assert run.load()[1] == max(written)

    def test_what_is_not_whole_or_no_checkpoint_is_not_listed(self, run):
        kept = run.checkpoint(3, tensors(3))
        folder = run.path / "checkpoints"
        for other in (".round_000004.123.temporary", "round_4", "round_000005.old", "notes"):
            (folder / other).mkdir()
        assert run.checkpoints() == [kept]

    def test_writing_a_round_again_replaces_it(self, run):
        run.checkpoint(3, tensors(3))
        run.checkpoint(3, tensors(4))
        assert len(run.checkpoints()) == 1
        assert run.load()[0]["critic"].tolist() == [4.0] * 3

    def test_without_one_there_is_nothing_to_load(self, run):
        with pytest.raises(RunError, match="no checkpoint"):
            run.load()

    def test_nor_where_the_empty_folder_was_lost_on_the_way_as_git_loses_it(self, run):
        (run.path / "checkpoints").rmdir()
        with pytest.raises(RunError, match="no checkpoint"):
            run.load()

    def test_a_checkpoint_under_another_rounds_name_is_noticed(self, run):
        run.checkpoint(3, tensors(3)).rename(run.path / "checkpoints" / "round_000004")
        with pytest.raises(StoredError, match="another round"):
            run.load()

    @pytest.mark.parametrize("name", ["tensors.safetensors", "manifest.json"])
    def test_a_checkpoint_that_was_cut_short_is_noticed(self, run, name):
        file = run.checkpoint(3, tensors(3)) / name
        file.write_bytes(file.read_bytes()[:-2])
        with pytest.raises(StoredError):
            run.load()


class TestMetrics:
    def log(self, run: Run, rounds) -> None:
        for round in rounds:
            run.log({"round": round, "loss": round / 7})

    @settings(deadline=None, max_examples=25)
    @given(st.integers(0, 12), st.integers(0, 14))
    def test_those_after_a_round_are_forgotten_and_the_others_kept_to_the_bit(self, logged, last):
        with TemporaryDirectory() as folder:
            run = Run.create(Path(folder) / "run", {}, {})
            self.log(run, range(1, logged + 1))
            before = run.metrics()
            run.forget_metrics_after(last)
            assert run.metrics() == before[:last]
            assert [line["loss"] for line in run.metrics()] == [r / 7 for r in range(1, min(last, logged) + 1)]
            self.log(run, [last + 1])
            assert run.metrics()[-1]["round"] == last + 1

    def test_a_line_that_a_crash_cut_short_does_not_stop_a_resume(self, run):
        self.log(run, [1, 2])
        with (run.path / "metrics.jsonl").open("a") as file:
            file.write('{"round": 3, "lo')
        run.forget_metrics_after(2)
        self.log(run, [3])
        assert [line["round"] for line in run.metrics()] == [1, 2, 3]

    def test_a_failed_rewrite_leaves_the_old_figures(self, run, monkeypatch):
        self.log(run, [1, 2, 3])

        def refuse(*arguments):
            raise OSError

        with monkeypatch.context() as broken:
            broken.setattr("fedprobe.runs.os.replace", refuse)
            with pytest.raises(OSError):
                run.forget_metrics_after(1)
        assert [line["round"] for line in run.metrics()] == [1, 2, 3]


class TestRoundsOpened:
    def test_each_counts_once_and_stays_counted_when_the_run_is_opened_again(self, run):
        for count in range(1, 8):
            assert Run.open(run.path).open_round() == count
            assert Run.open(run.path).rounds_opened == count
        run.forget_metrics_after(0)
        assert run.rounds_opened == 7

    def test_a_round_is_on_the_disk_before_it_counts(self, run, monkeypatch):
        synced = []
        sync = os.fsync

        def record(descriptor):
            sync(descriptor)
            synced.append(os.fstat(descriptor).st_size)

        monkeypatch.setattr("fedprobe.runs.os.fsync", record)
        assert run.open_round() == 1
        assert run.open_round() == 2
        assert synced == [1, 2]

    def test_a_round_that_could_not_be_made_durable_is_not_begun(self, run, monkeypatch):
        def refuse(descriptor):
            raise OSError("input/output error")

        monkeypatch.setattr("fedprobe.runs.os.fsync", refuse)
        with pytest.raises(OSError):
            run.open_round()


class TestStatement:
    @pytest.mark.parametrize("opened", [0, 3, 5, 8])
    def test_it_is_of_the_plan_or_of_the_rounds_opened_where_those_are_more(self, run, opened):
        for _ in range(opened):
            run.open_round()
        said = run.statement(accountant="rdp")
        assert said.bound == epsilon([SampledGaussian(1.0, Q, max(5, opened))], 1e-6, "rdp")
        assert (said.rounds_planned, said.rounds_opened) == (5, opened)
        assert (said.delta, said.users_per_round, said.population) == (1e-6, 10, 200)
        assert said.runs == [str(run.path)]

    @pytest.mark.parametrize("accountant", ["auto", "paper"])
    def test_another_accountant_and_delta_may_be_asked_for(self, run, accountant):
        said = run.statement(delta=1e-3, accountant=accountant)
        assert said.bound == epsilon([SampledGaussian(1.0, Q, 5)], 1e-3, accountant)
        assert said.bound.accountant == {"auto": "pld"}.get(accountant, accountant)
        assert said.delta == 1e-3

    @pytest.mark.parametrize("on", [None, "primary model", "vocabulary"])
    @pytest.mark.parametrize("simulation", [False, True])
    def test_it_says_conditional_and_simulation_as_the_plan_does(self, tmp_path, on, simulation):
        run = Run.create(tmp_path / "run", cohort(), privacy_of(5, conditional_on=on, simulation=simulation))
        said = run.statement(accountant="rdp")
        assert (said.conditional_on, said.simulation) == (on, simulation)

    @pytest.mark.parametrize(
        "missing", ["event", "delta", "users_per_round", "population", "conditional_on", "simulation"]
    )
    def test_a_plan_that_leaves_something_unsaid_is_refused(self, tmp_path, missing):
        privacy = privacy_of(5)
        del privacy[missing]
        run = Run.create(tmp_path / "run", cohort(), privacy)
        with pytest.raises(StoredError, match="does not say"):
            run.statement(accountant="rdp")

    @pytest.mark.parametrize("event", [{"event": "fixed-size-gaussian"}, {"rounds": -1}, {"rounds": None}, {"new": 1}])
    def test_an_event_of_a_kind_not_known_is_refused(self, tmp_path, event):
        privacy = privacy_of(5)
        privacy["event"] |= event
        run = Run.create(tmp_path / "run", cohort(), privacy)
        with pytest.raises(StoredError, match="does not say"):
            run.statement(accountant="rdp")

    @pytest.mark.parametrize("delta", ["x", 5, True, None, 0.0, float("nan")])
    def test_a_delta_that_is_none_is_refused(self, tmp_path, delta):
        run = Run.create(tmp_path / "run", cohort(), privacy_of(5) | {"delta": delta})
        with pytest.raises(StoredError, match="does not say"):
            run.statement(accountant="rdp")

    @pytest.mark.parametrize("config", [{}, {"cohort": None}, {"cohort": []}, {"cohort": {"rule": {"unheard": 1}}}])
    def test_a_cohort_that_is_none_is_refused(self, tmp_path, config):
        run = Run.create(tmp_path / "run", config, privacy_of(5))
        with pytest.raises(StoredError, match="does not say whose run it is"):
            _ = run.rule

    @pytest.mark.parametrize("arguments", [{"delta": 0.0}, {"delta": 1.0}, {"accountant": "exact"}])
    def test_what_no_accountant_can_do_is_the_callers_mistake_and_not_the_runs(self, run, arguments):
        with pytest.raises(ValueError):
            run.statement(**arguments)


ONE = SampledGaussian(1.0, Q, 5)
OTHER = SampledGaussian(0.8, Q, 3)


class TestStatementTogether:
    def two(self, folder: Path, first: dict, second: dict, **second_privacy) -> list[Run]:
        return [
            Run.create(folder / "one", first, privacy_of(5)),
            Run.create(folder / "other", second, privacy_of(3, noise_multiplier=0.8, **second_privacy)),
        ]

    @pytest.mark.parametrize("first, second", [(LOW, HIGH), (HIGH, LOW)])
    def test_cohorts_that_exclude_each_other_cost_the_larger_total(self, tmp_path, first, second):
        runs = self.two(tmp_path, first, second)
        said = statement_together(runs, accountant="rdp")
        assert said.bound == max((epsilon([e], 1e-6, "rdp") for e in (ONE, OTHER)), key=lambda bound: bound.value)
        assert said.runs == [str(run.path) for run in runs]
        assert "larger total" in said.composition

    def test_the_larger_total_counts_rounds_opened_beyond_the_plan(self, tmp_path):
        runs = self.two(tmp_path, LOW, HIGH)
        for _ in range(60):
            runs[0].open_round()
        opened = epsilon([SampledGaussian(1.0, Q, 60)], 1e-6, "rdp")
        assert opened.value > epsilon([OTHER], 1e-6, "rdp").value > epsilon([ONE], 1e-6, "rdp").value
        assert statement_together(runs, accountant="rdp").bound == opened

    @pytest.mark.parametrize(
        "first, second, second_privacy",
        [
            (LOW, HIGH, {"measurement": "measurement two"}),
            (LOW, HIGH, {"measurement": None}),
            (LOW, HIGH, {"population_id": "population two"}),
            (LOW, HIGH, {"population_id": None}),
            (LOW, cohort("high-accuracy", above=0.75), {}),
            (LOW, LOW, {}),
            (HIGH, HIGH, {}),
            (cohort(), cohort(), {}),
            (cohort(), HIGH, {}),
            (cohort("misclassified", min_examples=5), cohort("correct", min_examples=5), {}),
            (LOW, cohort("correct", min_examples=5), {}),
        ],
    )
    def test_all_others_compose(self, tmp_path, first, second, second_privacy):
        said = statement_together(self.two(tmp_path, first, second, **second_privacy), accountant="rdp")
        assert said.bound == epsilon([ONE, OTHER], 1e-6, "rdp")
        assert said.bound.value > max(epsilon([event], 1e-6, "rdp").value for event in (ONE, OTHER))
        assert "add up" in said.composition

    @pytest.mark.parametrize(
        ("second", "indicative"),
        [
            ({"study": "all"}, False),
            ({"study": "another"}, True),
            ({"study": None}, True),
            ({"study": ["all"]}, True),
            ({"study": "all", "population_id": "population two"}, True),
            ({"study": "all", "extended": True}, True),
        ],
        ids=str,
    )
    def test_they_are_a_bound_only_as_parts_of_one_study_as_it_was_declared(self, tmp_path, second, indicative):
        runs = self.two(tmp_path, LOW, LOW, **second)
        write_json(runs[0].path / "privacy.json", runs[0].privacy | {"study": "all"})
        assert statement_together(runs, accountant="rdp").indicative == indicative

    def test_rounds_beyond_the_plan_make_the_figure_indicative(self, tmp_path):
        """The ledger has them as a plan of their own, and adds up."""
        runs = self.two(tmp_path, LOW, HIGH)
        assert not runs[0].statement(accountant="rdp").indicative
        assert runs[0].statement(accountant="rdp", rounds_ahead=6).indicative
        for _ in range(6):
            runs[0].open_round()
        assert runs[0].statement(accountant="rdp").indicative
        assert statement_together(runs, accountant="rdp").indicative, "though nobody can be in both"

    @pytest.mark.parametrize("name", ["measurement", "population_id"])
    @pytest.mark.parametrize("absent", [False, True])
    def test_what_neither_run_names_is_not_the_same(self, tmp_path, name, absent):
        runs = self.two(tmp_path, LOW, HIGH)
        for run in runs:
            privacy = run.privacy | {name: None}
            if absent:
                del privacy[name]
            write_json(run.path / "privacy.json", privacy)
        assert statement_together(runs, accountant="rdp").bound == epsilon([ONE, OTHER], 1e-6, "rdp")

    def test_thresholds_that_touch_exclude_each_other_because_both_are_strict(self, tmp_path):
        runs = self.two(tmp_path, LOW, cohort("high-accuracy", above=0.8))
        assert "larger total" in statement_together(runs, accountant="rdp").composition

    def test_three_runs_compose_even_where_two_exclude_each_other(self, tmp_path):
        runs = [*self.two(tmp_path, LOW, HIGH), Run.create(tmp_path / "third", HIGH, privacy_of(4))]
        said = statement_together(runs, accountant="rdp")
        assert said.bound == epsilon([ONE, OTHER, SampledGaussian(1.0, Q, 4)], 1e-6, "rdp")

    @pytest.mark.parametrize("second", [HIGH, LOW])
    def test_deltas_that_differ_are_taken_at_the_larger_one(self, tmp_path, second):
        said = statement_together(self.two(tmp_path, LOW, second, delta=1e-4), accountant="rdp")
        assert said.delta == 1e-4
        if second is HIGH:
            assert said.bound.value == max(epsilon([event], 1e-4, "rdp").value for event in (ONE, OTHER))
        else:
            assert said.bound == epsilon([ONE, OTHER], 1e-4, "rdp")

    def test_one_delta_may_be_asked_for(self, tmp_path):
        said = statement_together(self.two(tmp_path, LOW, LOW), delta=1e-3, accountant="rdp")
        assert said.bound == epsilon([ONE, OTHER], 1e-3, "rdp")

    @pytest.mark.parametrize(
        "on, together",
        [
            ((None, None), None),
            ((None, "vocabulary"), "vocabulary"),
            (("vocabulary", "vocabulary"), "vocabulary"),
            (("vocabulary", "primary model"), "primary model and the vocabulary"),
        ],
    )
    def test_what_any_run_is_conditional_on_the_whole_is_conditional_on(self, tmp_path, on, together):
        runs = [
            Run.create(tmp_path / str(number), LOW, privacy_of(5, conditional_on=one)) for number, one in enumerate(on)
        ]
        assert statement_together(runs, accountant="rdp").conditional_on == together

    @pytest.mark.parametrize("flags", [(False, False), (False, True), (True, True)])
    def test_only_all_simulations_together_are_a_simulation(self, tmp_path, flags):
        runs = [
            Run.create(tmp_path / str(number), LOW, privacy_of(5, simulation=flag)) for number, flag in enumerate(flags)
        ]
        assert statement_together(runs, accountant="rdp").simulation == all(flags)

    def test_one_run_alone_is_its_own_statement(self, run):
        assert statement_together([run], accountant="rdp") == run.statement(accountant="rdp")


def test_everything_in_a_run_is_json_safetensors_or_words(tmp_path):
    run = Run.create(tmp_path / "run", cohort(), privacy_of(5), WORDS)
    run.log({"round": 1})
    run.open_round()
    run.checkpoint(1, tensors(1))
    for path in run.path.rglob("*"):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.is_file():
            assert path.name in ("metrics.jsonl", "rounds_opened", "tensors.safetensors", "vocabulary.txt")


@pytest.mark.parametrize(("dropout", "fits"), [(0.0, True), (0.1, False)])
def test_a_run_of_before_had_none_of_what_it_does_not_say(tmp_path, dropout, fits):
    run = Run.create(tmp_path / "run", {"architecture": {"hidden": 3}, "training": {"rounds": 2}}, {})
    now = {"architecture": {"hidden": 3, "dropout": dropout}, "training": {"rounds": 2, "dropout": dropout}}
    with contextlib.nullcontext() if fits else pytest.raises(RunError, match="architecture, dropout"):
        run.require_same(now)
