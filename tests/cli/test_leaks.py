"""Nothing of the data is printed, or written outside its own folder, whatever command is run and however it ends.

Shards full of canaries: words, ids, attributes, pixels that stand nowhere else. Of a private population also its
numbers: users in all and in a cohort, how many a round drew. They are such as no figure of a command could be.
"""

import base64
import contextlib
import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from fedprobe.cli.main import main
from fedprobe.privacy import noise, randomness
from fedprobe.server import participation
from fedprobe.server.participation import FixedParticipation, PoissonParticipation

PACKAGE = Path(sys.modules["fedprobe"].__file__).parent
ROOMS = ("clients", "server", "modeler", "privacy", "models", "runs")
# How many injected exceptions a command meets, spread over the functions it calls; 0: one in each of them.
INJECTED = int(os.environ.get("FEDPROBE_LEAKS", "4"))

USERS, LOW, DRAWN, TEXT_USERS, FAULTY = 137, 61, 83, 149, 97
HIGH = USERS - LOW
COUNTS = {str(count) for count in (USERS, LOW, HIGH, DRAWN, TEXT_USERS, FAULTY, FAULTY + 4)}
STREET, WORD, ATTRIBUTE, RAISED = "Oak Street", "oak-street", "Zwiebelcanary", "Quittecanary"
# Long ones: three bytes would turn up in a picture by chance.
STRINGS = (STREET, WORD, ATTRIBUTE, RAISED)
PIXELS = np.array([0.7316423, 0.1928371, 0.5647382, 0.9081726, 0.3141593, 0.6021357], np.float32)
# The folders that hold data, and what fedprobe keeps beside them.
DATA = ("data", "text", "struck", "struck-text", "bad")

# Of everybody, as far as it is told, which is quick to account for.
TRAIN = [
    *"--rounds 1 --users-per-round 90 --population 90 --local-batch-size 2 --checkpoint-every 1".split(),
    *"--workers 1 --no-progress".split(),
]
NOISE = ["--noise-multiplier", "4", "--delta", "1e-9"]
ONCE = ["--method", "one-round", "--workers", "1", "--no-progress"]
TINY_LM = "--embedding 4 --hidden 4 --projection 4 --layers 1".split()
LOW_RULE = ["--cohort", "low-accuracy", "--below", "0.5", "--primary", "primary"]
HIGH_RULE = ["--cohort", "high-accuracy", "--above", "0.5", "--primary", "primary"]
UNLIKE = ["--cohort", "unlike-public", "--public", "density", "--public-share", "0.5"]
OOV = ["--cohort", "oov-words", "--vocabulary", "vocabulary.txt"]
PAY = ["--count", "--noise-multiplier", "40", "--delta", "1e-9"]
STUDY = """
name = "both"
[[plan]]
command = "select"
noise_multiplier = 90
[[plan]]
command = "train-gan"
cohort = "low-accuracy"
below = 0.5
rounds = 1
users_per_round = 90
population = 150
noise_multiplier = 5
"""

# As they are, whatever a fixture puts in their place.
DRAW, GAUSSIAN = PoissonParticipation.draw, noise.gaussian

# The steward's, who may be told how many users there are.
STEWARDS = {
    "init": ["init", "data", "--budget-epsilon", 1000, "--delta", 1e-4],
    "init text": ["init", "text", "--budget-epsilon", 1000, "--delta", 1e-4, "--json"],
    "describe": ["data", "describe", "data"],
    "check": ["data", "describe", "data", "--check", "--classes", 2, "--json"],
    "check text": ["data", "describe", "text", "--check"],
    "corrupt": ["data", "corrupt", "data", "struck", "--bug", "invert-pixels"],
    "corrupt text": ["data", "corrupt", "text", "struck-text", "--bug", "join-first-tokens", "--json"],
}
# The modeler's: what is run, and the exit code.
MODELERS = {
    "exact vocabulary": (["data", "vocabulary", "text", "-o", "exact.txt"], 4),
    "public vocabulary": (["data", "vocabulary", "--public", "public.txt", "-o", "vocabulary.txt"], 0),
    "pooled": (["train-classifier", "data", "--method", "pooled", "-o", "pooled"], 4),
    "classifier": (
        [*"train-classifier data --method fedavg --classes 2 --accountant rdp -o runs/primary".split(), *TRAIN, *NOISE],
        0,
    ),
    "select random": (["select", "data", "-v"], 0),
    "select share": (["select", "data", "--share", "0.5", *PAY, "--json"], 0),
    "select low": (["select", "data", *LOW_RULE, "-v", "-o", "low.json"], 0),
    "select percentile": (
        ["select", "data", *LOW_RULE[:2], "--below", "p25", *LOW_RULE[4:], *PAY, "--plot", "low.png", "-o", "p.json"],
        0,
    ),
    "select high": (["select", "data", *HIGH_RULE, *PAY, "--json", "-o", "high.json"], 0),
    "select misclassified": (["select", "data", "--cohort", "misclassified", "--primary", "primary", *PAY], 0),
    "select correct": (["select", "data", "--cohort", "correct", "--primary", "primary", "--json"], 0),
    "density": (["train-density", "data", "-o", "runs/density"], 4),
    "density of text": (["train-density", "text", "--language-model", "runs/none", "-o", "runs/density"], 4),
    "select unlike": (["select", "data", *UNLIKE, *PAY, "-o", "unlike.json", "--json"], 0),
    "select slice": (["select", "data", "--where", "name == 'x'", *PAY, "-o", "slice.json"], 0),
    "select no attribute": (["select", "data", "--where", "number == 3", "-v", "--json"], 0),
    "select each": (["select", "data", *LOW_RULE, "--where-each", "name in ('x', 'y')", "-o", "slices"], 0),
    "select struck": (["select", "struck", *LOW_RULE, "-v"], 0),
    "select by release": (["select", "data", "--cohort", "correct", "--primary", "runs/primary", "-o", "c.json"], 0),
    "select dry": (["select", "data", *LOW_RULE, *PAY, "--dry-run"], 0),
    "select words": (["select", "text", *OOV, *PAY, "-o", "oov.json"], 0),
    "gan": (["train-gan", "data", *TRAIN, *NOISE, "-v", "-o", "runs/all", "--samples-every", 1], 0),
    "gan low": (["train-gan", "data", *LOW_RULE, *TRAIN, *NOISE, "-o", "runs/low", "--json"], 0),
    "gan high": (["train-gan", "data", "--cohort", "high.json", *TRAIN, *NOISE, "-o", "runs/high"], 0),
    "gan resumed": (["train-gan", "data", *LOW_RULE, *TRAIN, *NOISE, "-o", "runs/low", "--resume", "--rounds", 2], 0),
    "gan fixed": (["train-gan", "data", *TRAIN, *NOISE, "--participation", "fixed", "--cohort", "correct"], 2),
    "gan wrong": (
        ["train-gan", "data", "--cohort", "misclassified", "--primary", "primary", *TRAIN, *NOISE]
        + ["--participation", "none", "-o", "runs/wrong"],
        0,
    ),
    "gan unlike": (["train-gan", "data", "--cohort", "unlike.json", *ONCE, *NOISE, "-v", "-o", "runs/unlike"], 0),
    "gan slice": (["train-gan", "data", "--where", "name != 'x'", *ONCE, *NOISE, "-o", "runs/slice"], 0),
    "gan noiseless": (["train-gan", "data", *TRAIN, "--noise-multiplier", 0], 4),
    "gan without number": (["train-gan", "data", *TRAIN[:4], *NOISE], 4),
    "sentences": (
        ["train-wordlm", "text", "--vocabulary", "vocabulary.txt", *TRAIN, *NOISE, *TINY_LM, "-o", "runs/sentences"],
        0,
    ),
    "words": (["train-charlm", "text", *OOV, *TRAIN, *NOISE, *TINY_LM, "-v", "-o", "runs/words", "--json"], 0),
    "gan once": (["train-gan", "data", *LOW_RULE, *ONCE, *NOISE, "-v", "-o", "runs/once"], 0),
    "gan once high": (
        ["train-gan", "data", "--cohort", "high.json", *ONCE, *NOISE, "-o", "runs/once-high", "--json"],
        0,
    ),
    "gan once by label": (["train-gan", "data", *ONCE, *NOISE, "--classes", 2, "-o", "runs/labels"], 0),
    "gan once resumed": (["train-gan", "data", *LOW_RULE, *ONCE, *NOISE, "-o", "runs/once", "--resume"], 0),
    "words once": (["train-charlm", "text", *OOV, *ONCE, *NOISE, "-o", "runs/words-once", "--json"], 0),
    "sample once": (["sample", "runs/labels", "-n", 4, "--label", 1, "--json"], 0),
    "export": (["export", "runs/labels", "-n", 3, "--primary", "primary", "-o", "labelling", "--json"], 0),
    "import": (["data", "import", "labelling", "--labels", "labelling/labels.csv", "-o", "table.json"], 0),
    "sample words once": (["sample", "runs/words-once"], 0),
    "compare once": (["compare", "runs/once-high", "runs/once", "-n", 64], 0),
    "report": (["report", "runs/low", "runs/once", "-o", "report.html", "--json"], 0),
    "sample": (["sample", "runs/low", "-n", 4, "-o", "low-samples.png"], 0),
    "sample words": (["sample", "runs/words", "-n", 20, "--top", 3, "--json"], 0),
    "sample sentences": (["sample", "runs/sentences", "-n", 5], 0),
    "compare": (["compare", "runs/low", "runs/high", "-n", 64, "--json"], 0),
    "compare text": (["compare", "runs/words", "runs/words/checkpoints/round_000001", "-n", 40], 2),
    "privacy": (["privacy", "runs/low", "runs/high", "--accountant", "rdp"], 0),
    "privacy of one": (["privacy", "runs/low", "--plot", "epsilon.png", "--accountant", "rdp", "--json"], 0),
    "declare": (["ledger", "declare", "study.toml", "data"], 0),
    "spend": (["select", "data", *LOW_RULE, "--count", "--noise-multiplier", 90, "--study", "both"], 0),
    "settle": (["ledger", "settle", "runs/high"], 0),
    "ledger": (["ledger", "data"], 0),
    "ledger json": (["ledger", "text", "--json"], 0),
}


@dataclass(frozen=True)
class Shown:
    """What a command left on its streams, and its exit code."""

    code: int
    out: str
    err: str


def run(folder: Path, *arguments: object) -> Shown:
    """Run a command as a process of its own would: what nothing catches goes to the hook that main sets."""
    out, err = io.StringIO(), io.StringIO()
    hook, code = sys.excepthook, 1
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = stopped.code
        except Exception:  # noqa: BLE001
            sys.excepthook(*sys.exc_info())
        finally:
            sys.excepthook = hook
    return Shown(code, out.getvalue(), err.getvalue())


def forms(text: str) -> Iterator[bytes]:
    """A canary as it may be written."""
    raw = text.encode()
    yield raw
    yield json.dumps(text)[1:-1].encode()
    yield ascii(text)[1:-1].encode()
    if len(raw) > 8:
        yield text.encode("utf-16-le")
        yield raw.hex().encode()
        yield base64.b64encode(raw)[:-3]


@dataclass(frozen=True)
class Canaries:
    """What must stand nowhere: in no stream, in no file outside of DATA."""

    folder: Path
    needles: tuple[bytes, ...]
    private: bool = True
    digests: frozenset[bytes] = frozenset()

    @classmethod
    def of(cls, folder: Path, private: bool = True) -> "Canaries":
        """All those of the shards in `folder`: strings, pixels, and digests of files, ids and pixels."""
        needles = [form for text in STRINGS for form in forms(text)]
        for pixels in (PIXELS, PIXELS * 2 - 1, PIXELS.astype(np.float64)):
            needles.append(pixels.tobytes())
        needles += [repr(float(value))[:8].encode() for value in PIXELS.tolist()]
        digests = set()
        for shard in sorted((*folder.glob("data/*.h5"), *folder.glob("text/*.h5"))):
            digested = [shard.read_bytes()]
            with h5py.File(shard) as file:
                for user, group in file["examples"].items():
                    digests.add(str(randomness.key(user)).encode())
                    digested.append(user.encode())
                    if "pixels" in group:
                        digested += [group["pixels"][...].tobytes(), group["pixels"][0].tobytes()]
            for content in digested:
                for digest in (hashlib.sha256, hashlib.sha1, hashlib.md5, hashlib.blake2b):
                    digests.add(digest(content).hexdigest()[:16].encode())
        return cls(folder, tuple(dict.fromkeys(needles)), private, frozenset(digests))

    def require_silent(self, shown: Shown, counts: bool = True) -> None:
        """Fail where a stream holds a canary or, of a private population and unless allowed, one of its COUNTS."""
        for stream in (shown.out, shown.err):
            self._require_clean(stream.encode(), "a stream", counts)

    def require_nothing_written(self, counts: bool = True) -> None:
        """Fail where a file outside of the data's own folders holds one."""
        for path in sorted(self.folder.rglob("*")):
            inside = path.relative_to(self.folder)
            if inside.parts[0] in (*DATA, "primary", "density") or not path.is_file():
                assert inside.parts[0] in (*DATA, "primary", "density") or path.is_dir()
                continue
            self._require_clean(str(inside).encode(), "a name", counts)
            text = path.suffix in (".json", ".jsonl", ".md", ".txt", ".toml")
            self._require_clean(path.read_bytes(), str(inside), counts and text)
            if path.suffix == ".png":
                with Image.open(path) as image:
                    rows = np.asarray(image.convert("L"))
                for scale in (1, 2, 3, 4):
                    wanted = np.rint(PIXELS * 255).astype(np.uint8).tobytes()
                    assert not any(wanted in row[::scale].tobytes() for row in rows), inside

    def _require_clean(self, content: bytes, where: str, counts: bool) -> None:
        for needle in self.needles:
            assert needle not in content, f"{where} holds a canary"
        # A digest in hexadecimal, as long as it may be, or a hash in decimal.
        words = re.findall(rb"[0-9a-f]{16,}", content)
        assert not self.digests & {word for whole in words for word in (whole, whole[:16])}, f"{where} holds a digest"
        if counts and self.private:
            # The folder's own path has numbers, pytest's.
            text = content.decode(errors="replace").replace(str(self.folder), "")
            numbers = set(re.findall(r"(?<![\w.])\d[\d,]*(?![\w]|\.\d)", text))
            assert not COUNTS & numbers, f"{where} holds a count of the data, {COUNTS & numbers}"


def fill(folder: Path, write_shard, patches, sentences, primary: Path, density: Path, users: int | None = None) -> None:
    """Shards of images and of text, full of canaries, and what a modeler has beside them."""
    images = patches(users or USERS, mislabelled=users and 2 or LOW)
    first = next(iter(images.values()))
    first["pixels"][0, 0, : len(PIXELS)] = PIXELS
    for path, content in ((folder / "data/s.h5", images), (folder / "text/s.h5", sentences(users or TEXT_USERS))):
        write_shard(path, content)
        with h5py.File(path, "r+") as file:
            file.attrs["about"] = file["examples"].attrs["about"] = ATTRIBUTE
            for group in file["examples"].values():
                group.attrs["name"] = ATTRIBUTE
    (folder / "public.txt").write_text("the a to of is it and in you that\n" * 3)
    (folder / "study.toml").write_text(STUDY)
    (folder / "primary").symlink_to(primary)
    (folder / "density").symlink_to(density)


@pytest.fixture(scope="module")
def fixed_noise():
    """Rounds of exactly DRAWN users, and noise that makes a count of none of COUNTS another one of them."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (PoissonParticipation, FixedParticipation):
            patch.setattr(kind, "draw", lambda self, members: np.arange(members)[:DRAWN])
        patch.setattr(noise, "gaussian", lambda count, deviation: np.full(count, round(2.5 * deviation), np.int64))
        yield


@pytest.fixture(scope="module")
def walked(tmp_path_factory, fixed_noise, write_shard, patches, sentences, primary, density):
    """Every command on private populations, and what each one said."""
    folder = tmp_path_factory.mktemp("leaks")
    fill(folder, write_shard, patches, sentences, primary, density)
    with pytest.MonkeyPatch.context() as patch:
        # Whatever is written for a moment is written where it is looked at.
        (folder / "temporary").mkdir()
        patch.setenv("TMPDIR", str(folder / "temporary"))
        said = {name: run(folder, *command) for name, command in STEWARDS.items()}
        said |= {name: run(folder, *command) for name, (command, _) in MODELERS.items()}
    return folder, said, Canaries.of(folder)


@pytest.mark.parametrize("name", [*STEWARDS, *MODELERS])
def test_a_command_shows_nothing_of_a_private_population(walked, name):
    _, said, canaries = walked
    shown = said[name]
    assert shown.code == (0 if name in STEWARDS else MODELERS[name][1]), shown.err
    assert shown.out or shown.err
    canaries.require_silent(shown, counts=name not in STEWARDS)


def test_nothing_of_a_private_population_is_written_elsewhere(walked):
    folder, _, canaries = walked
    assert len(list(folder.glob("runs/*/card.md"))) == 13
    canaries.require_nothing_written()


def test_no_state_of_a_draw_or_of_the_noise_is_left(tmp_path, write_shard, patches, monkeypatch):
    """Neither a key or nonce that the operating system gave, nor the bits that came of it, nor who was drawn."""
    secret, drawn = [], []
    urandom, bits = os.urandom, randomness.uniform_bits

    def kept(count):
        secret.append(urandom(count))
        return secret[-1]

    def kept_bits(count):
        values = bits(count)
        secret.append(values.tobytes()[:16])
        return values

    monkeypatch.setattr(randomness.os, "urandom", kept)
    monkeypatch.setattr(noise, "uniform_bits", kept_bits)
    monkeypatch.setattr(participation, "uniform_bits", kept_bits)

    def kept_draw(self, members):
        drawn.append(DRAW(self, members))
        return drawn[-1]

    monkeypatch.setattr(noise, "gaussian", GAUSSIAN)
    monkeypatch.setattr(PoissonParticipation, "draw", kept_draw)
    write_shard(tmp_path / "data/s.h5", patches(40))
    run(tmp_path, "init", "data", "--budget-epsilon", 1000)
    train = ["train-gan", "data", *TRAIN, *NOISE, "--population", 180, "-v", "-o", "run"]
    shown = run(tmp_path, *train)
    assert shown.code == 0, shown.err
    assert len(drawn) == 1 and 0 < len(drawn[0]) < 40 and len(secret) > 5
    needles = [form for value in secret if len(value) >= 12 for form in (value, value.hex().encode())]
    for order in (np.int32, np.int64):
        needles.append(drawn[0].astype(order).tobytes())
    needles += [json.dumps(drawn[0].tolist())[1:-1].encode(), str(drawn[0])[1:-1].encode()]
    canaries = Canaries(tmp_path, tuple(needles), private=False)
    canaries.require_silent(shown)
    canaries.require_nothing_written()


# Bad input: FAULTY users at once, so that their number would show.


def flattened(user):
    user["pixels"] = user["pixels"][:, 0]


def spoiled(user):
    user["pixels"][0, 0, 0] = np.nan
    user["label"][0] = 47_110_815


@pytest.mark.parametrize("command", ["select", "train-gan", "train-classifier"])
@pytest.mark.parametrize("fault, code", [("structure", 3), ("content", 0), ("repeated", 3), ("cut short", 3)])
def test_bad_data_of_a_private_population_are_refused_or_left_out_without_a_number(
    tmp_path, fixed_noise, write_shard, patches, fault, code, command
):
    users = patches(FAULTY + 4)
    (tmp_path / "primary").mkdir()
    faulty = dict(list(users.items())[:FAULTY])
    for user in faulty.values():
        {"structure": flattened, "content": spoiled}.get(fault, lambda user: None)(user)
    shard = write_shard(tmp_path / "data/s.h5", users)
    if fault == "repeated":
        write_shard(tmp_path / "data/t.h5", faulty)
    run(tmp_path, "init", "data", "--budget-epsilon", 1000)
    if fault == "cut short":
        shard.write_bytes(shard.read_bytes()[:5000])
    options = {"select": [], "train-gan": [*TRAIN, *NOISE], "train-classifier": [*TRAIN, *NOISE, "--classes", 2]}
    for more in ([], ["--json"]):
        shown = run(tmp_path, command, "data", *options[command], *more, "-o", f"out{len(more)}")
        assert shown.code == code, shown.err
        canaries = Canaries(tmp_path, (*(form for text in STRINGS for form in forms(text)), b"47110815"))
        canaries.require_silent(shown)
    canaries.require_nothing_written()


# Exceptions inside of every room, with a canary in their message.

BROKEN = {
    "check": ["data", "describe", "data", "--check"],
    "corrupt": ["data", "corrupt", "data", "struck/{n}"],
    "corrupt text": ["data", "corrupt", "text", "struck-text/{n}", "--bug", "join-first-tokens"],
    "vocabulary": ["data", "vocabulary", "--public", "public.txt", "-o", "{n}.txt"],
    "select": ["select", "data", *LOW_RULE, *PAY, "--plot", "{n}.png", "-o", "{n}.json"],
    "select words": ["select", "text", *OOV, *PAY],
    "select unlike": ["select", "data", *UNLIKE, *PAY, "-o", "{n}.json"],
    "select slice": ["select", "data", "--where", "name != 'x'", *PAY, "-o", "{n}.json"],
    "classifier": ["train-classifier", "data", "--classes", 2, *TRAIN, *NOISE, "-o", "runs/{n}"],
    "gan": ["train-gan", "data", *LOW_RULE, *TRAIN, *NOISE, "-o", "runs/{n}", "-v"],
    "gan once": ["train-gan", "data", *LOW_RULE, *ONCE, *NOISE, "-o", "runs/{n}"],
    "words once": ["train-charlm", "text", *OOV, *ONCE, *NOISE, "-o", "runs/{n}", "--json"],
    "sentences": ["train-wordlm", "text", *OOV[2:], *TRAIN, *NOISE, *TINY_LM, "-o", "runs/{n}", "--json"],
    "words": ["train-charlm", "text", *OOV, *TRAIN, *NOISE, *TINY_LM, "-o", "runs/{n}"],
    "sample": ["sample", "runs/gan", "-n", 4, "-o", "{n}.png"],
    "compare": ["compare", "runs/gan", "runs/gan", "-n", 64],
    "privacy": ["privacy", "runs/gan", "--json"],
    "ledger": ["ledger", "data"],
}
# Rooms that hold examples, but are given options alone.
OPTIONS_ONLY = ("clients/text.py:TextFormat.__post_init__", "clients/classifier_training.py:networks")
BROKEN["corrupt"] += ["--bug", "invert-pixels"]


class Meddler:
    """Traces the package's functions: notes those that are called, or raises `error` in the one called `victim`."""

    def __init__(self, victim: str | None = None, error: Exception | None = None) -> None:
        self.victim, self.error, self.called, self.raised = victim, error, {}, False

    def __call__(self, frame, event, argument) -> None:
        path = frame.f_code.co_filename
        if not path.startswith(str(PACKAGE)):
            return
        name = f"{path.removeprefix(str(PACKAGE) + '/')}:{frame.f_code.co_qualname}"
        if name.split("/")[0].split(".")[0] in ROOMS and "<module>" not in name:
            self.called[name] = None
            if name == self.victim and not self.raised:
                self.raised = True
                raise self.error

    def run(self, folder: Path, *arguments: object) -> Shown:
        """A command, under this trace."""
        sys.settrace(self)
        try:
            return run(folder, *arguments)
        finally:
            sys.settrace(None)


@pytest.fixture(scope="module")
def few(tmp_path_factory, write_shard, patches, sentences, primary, density):
    """The same of few users, on whom all is quick."""
    folder = tmp_path_factory.mktemp("few")
    fill(folder, write_shard, patches, sentences, primary, density, users=5)
    for name in ("struck", "struck-text"):
        (folder / name).mkdir()
    for command in (
        *(["init", name, "--budget-epsilon", 100_000, "--delta", 0.1] for name in ("data", "text")),
        MODELERS["public vocabulary"][0],
        ["train-gan", "data", *TRAIN, *NOISE, "-o", "runs/gan"],
    ):
        assert run(folder, *command).code == 0
    return folder


@pytest.mark.parametrize("name", BROKEN)
def test_an_accident_anywhere_shows_where_it_was_and_nothing_else(few, name):
    canaries = Canaries.of(few, private=False)
    attempt = 0

    def command() -> list[str]:
        nonlocal attempt
        attempt += 1
        return [str(word).format(n=f"{name.replace(' ', '-')}-{attempt}") for word in BROKEN[name]]

    calm = Meddler()
    shown = calm.run(few, *command())
    assert shown.code == 0, shown.err
    called = list(calm.called)
    for number, victim in enumerate(called[:: max(1, len(called) // INJECTED)] if INJECTED else called):
        # A ValueError about what was asked for is shown: where no data come may be one.
        seeing = victim.startswith("clients/") and victim not in OPTIONS_ONLY
        kinds = (ValueError, RuntimeError, OSError, KeyError) if seeing else (KeyError, OSError)
        meddler = Meddler(victim, kinds[number % len(kinds)](RAISED))
        shown = meddler.run(few, *command())
        canaries.require_silent(shown)
    canaries.require_nothing_written()
