"""Bad input: one clear line, the right exit code, no id and no value of the data, nothing half-written."""

import json
import shutil

import h5py
import numpy as np
import pytest

STREET = "Oak Street"
# Values that no other number in an output, random ids included, could be taken for.
PIXEL, LABEL = 7.3125, 47_110_815

COMMANDS = {
    "describe": ["data", "describe", "data", "--check", "--classes", "2", "--quiet"],
    "select": ["select", "data", "--cohort", "low-accuracy", "--primary", "{primary}"],
    "train-classifier": ["train-classifier", "data", "--classes", "2", "-o", "model"],
    "train-gan": ["train-gan", "data", "--workers", "1"],
}


@pytest.fixture
def command(fedprobe, primary, leaves_nothing):
    """Run one of COMMANDS; hold that it writes nothing and shows nothing of the data, and is one line on stderr."""

    def run(name: str, *more: object):
        with leaves_nothing():
            done = fedprobe(*(word.format(primary=primary) for word in COMMANDS[name]), *more)
        for stream in (done.out, done.err):
            assert STREET not in stream and "№" not in stream and "\\u2116" not in stream
            assert "7.31" not in stream and str(LABEL) not in stream
        assert done.line
        return done

    return run


def replace(name, values_of):
    return lambda user: user.update({name: values_of(user[name])})


def with_pixel(value):
    def spoil(user):
        user["pixels"][1, 2, 3] = value

    return spoil


def with_label(value):
    def spoil(user):
        user["label"][1] = value

    return spoil


# What goes wrong with one user, and words of the message.
STRUCTURE = {
    "no pixels": (lambda user: user.pop("pixels"), "neither `pixels` nor a column of text"),
    "rank 2": (replace("pixels", lambda pixels: pixels[:, 0]), "rank"),
    "rank 5": (replace("pixels", lambda pixels: pixels[..., None, None]), "rank"),
    "a scalar": (replace("pixels", lambda pixels: pixels[0, 0, 0]), "rank"),
    "float64": (replace("pixels", lambda pixels: pixels.astype(np.float64)), "dtype"),
    "text": (replace("pixels", lambda pixels: np.full(pixels.shape, b"x")), "dtype"),
    "too few labels": (replace("label", lambda label: label[1:]), "different lengths"),
    "labels of rank 2": (replace("label", lambda label: label[:, None]), "one integer an example"),
    "labels of floats": (replace("label", lambda label: label + 0.5), "one integer an example"),
}
CONTENT = {
    "NaN": (with_pixel(np.nan), "not finite"),
    "infinite": (with_pixel(np.inf), "not finite"),
    "above 1": (with_pixel(PIXEL), "outside [0, 1]"),
    "below 0": (with_pixel(-PIXEL), "outside [0, 1]"),
    "negative label": (with_label(-LABEL), "negative labels"),
    "no examples": (lambda user: user.update({name: values[:0] for name, values in user.items()}), "no examples"),
}
BY_CLASSES = {"label of no class": (with_label(LABEL), "labels outside the 2 classes")}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("fault", STRUCTURE | CONTENT)
def test_one_users_fault_stops_the_command_and_is_noted_beside_the_data(
    tmp_path, command, simulation, patches, name, fault
):
    spoil, words = (STRUCTURE | CONTENT)[fault]
    users = patches(4)
    bad = list(users)[2]
    spoil(users[bad])
    simulation(users)
    done = command(name)
    assert done.code == 3
    assert done.line.startswith("error: ") and "1 user" in done.line and words in done.line
    (noted,) = (tmp_path / "data").rglob("faults.json")
    assert str(noted.relative_to(tmp_path)) in done.line
    assert list(json.loads(noted.read_text())) == [bad]


@pytest.mark.parametrize("name", ["describe", "train-classifier"])
def test_labels_outside_the_classes_are_faults_where_classes_are_given(tmp_path, command, simulation, patches, name):
    spoil, words = BY_CLASSES["label of no class"]
    users = patches(4)
    for bad in list(users)[1:3]:
        spoil(users[bad])
    simulation(users)
    done = command(name)
    assert done.code == 3 and "2 users" in done.line and words in done.line
    (noted,) = (tmp_path / "data").rglob("faults.json")
    assert list(json.loads(noted.read_text())) == list(users)[1:3]


def test_describe_reports_every_faulty_user_at_once(tmp_path, command, simulation, patches):
    users = patches(len(CONTENT) + 1)
    for (spoil, _), id in zip(CONTENT.values(), users, strict=False):
        spoil(users[id])
    simulation(users)
    done = command("describe")
    assert done.code == 3
    assert all(words in done.line for _, words in CONTENT.values())
    (noted,) = (tmp_path / "data").rglob("faults.json")
    assert len(json.loads(noted.read_text())) == len(CONTENT)


def test_describe_looks_at_contents_only_when_asked_to_and_forgets_no_fault(fedprobe, simulation, patches):
    users = patches(3)
    with_pixel(np.nan)(next(iter(users.values())))
    simulation(users)
    assert fedprobe("data", "describe", "data").code == 0
    for _ in range(2):
        assert fedprobe("data", "describe", "data", "--check").code == 3


def test_what_a_good_check_has_passed_is_counted(fedprobe, simulation, patches):
    users = patches(3)
    simulation(users)
    done = fedprobe("data", "describe", "data", "--check", "--classes", "2", "--json", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert (done.json["users"], done.json["checked"], done.json["kind"]) == (3, True, "simulation")
    assert done.json["examples"] == sum(len(user["label"]) for user in users.values())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_truncated_shard_names_both_sizes(command, simulation, patches, name):
    path = simulation(patches(4))
    whole = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(whole * 2 // 3)
    done = command(name)
    assert done.code == 3
    assert f"{whole:,} bytes" in done.line and f"{whole * 2 // 3:,}" in done.line and "s.h5" in done.line


def test_what_is_cut_short_is_not_registered_but_its_record_can_be_tightened(fedprobe, tmp_path, write_shard, patches):
    path = write_shard(tmp_path / "data" / "s.h5", patches(4))
    register = ["init", "data", "--kind", "simulation"]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    done = fedprobe(*register)
    assert done.code == 3 and "is cut short" in done.line
    assert list((tmp_path / "data").iterdir()) == [path] and not (tmp_path / "fedprobe.toml").exists()
    path.write_bytes(whole)
    assert fedprobe(*register).code == 0
    path.write_bytes(whole[: len(whole) // 2])
    assert fedprobe("init", "data", "--kind", "private", "--json").json["kind"] == "private"


NO_SHARD = {
    "no bytes": (lambda path: path.write_bytes(b""), "is not an HDF5 file"),
    "other bytes": (lambda path: path.write_bytes(b"PK\x03\x04" * 1000), "is not an HDF5 file"),
    "a signature alone": (lambda path: path.write_bytes(path.read_bytes()[:8]), "is not an HDF5 file"),
    "no group examples": (lambda path: h5py.File(path, "w").close(), "no group `examples`"),
    "no users": (lambda path: write_empty(path), "no users"),
    "examples is no group": (lambda path: write_scalar(path), "no group `examples`"),
}


def write_empty(path):
    with h5py.File(path, "w") as file:
        file.create_group("examples")


def write_scalar(path):
    with h5py.File(path, "w") as file:
        file["examples"] = PIXEL


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("fault", NO_SHARD)
def test_a_file_that_is_no_shard_is_said_to_be_none(command, simulation, patches, name, fault):
    spoil, words = NO_SHARD[fault]
    spoil(simulation(patches(2)))
    done = command(name)
    assert done.code == 3 and words in done.line


@pytest.mark.parametrize("name", COMMANDS)
def test_a_damaged_user_is_found_and_noted(tmp_path, command, write_shard, simulation, damage, patches, name):
    """Altered bytes that HDF5's own checksum notices, in one user's pixels."""
    users = patches(4)
    path = simulation(users)
    write_shard(path, users, checksums=True)
    bad = list(users)[1]
    damage(path, users[bad]["pixels"])
    done = command(name)
    assert done.code == 3 and "damaged" in done.line
    (noted,) = (tmp_path / "data").rglob("faults.json")
    assert list(json.loads(noted.read_text())) == [bad]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_user_in_two_shards_is_refused(tmp_path, command, simulation, patches, name):
    users = patches(4)
    simulation(users, "a.h5")
    repeated = dict(list(users.items())[1:3])
    simulation(repeated | patches(1, seed=5), "b.h5")
    done = command(name)
    assert done.code == 3 and "repeats 2 users" in done.line
    (noted,) = (tmp_path / "data").rglob("faults.json")
    assert set(json.loads(noted.read_text())) == set(repeated)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("difference", ["size", "dtype", "labels"])
@pytest.mark.parametrize("where", ["in one shard", "between shards"])
def test_users_of_different_schemas_are_refused(command, simulation, patches, name, difference, where):
    users, other = patches(3), patches(1, seed=5, side=24 if difference == "size" else 20)
    (one,) = other.values()
    if difference == "dtype":
        one["pixels"] = (one["pixels"] * 255).astype(np.uint8)
    if difference == "labels":
        del one["label"]
    if where == "in one shard":
        simulation(users | other)
    else:
        simulation(users, "a.h5")
        simulation(other, "b.h5")
    done = command(name)
    assert done.code == 3 and "differ in" in done.line


@pytest.mark.parametrize("name", ["select", "train-classifier"])
def test_labels_are_asked_for_where_they_are_needed(command, simulation, patches, name):
    simulation({id: {"pixels": user["pixels"]} for id, user in patches(3).items()})
    done = command(name)
    assert done.code == 3 and "no labels" in done.line


def test_a_gan_needs_no_labels(fedprobe, simulation, patches, tiny):
    simulation({id: {"pixels": user["pixels"]} for id, user in patches(3).items()})
    assert fedprobe("train-gan", "data", *tiny).code == 0


def test_colour_images_are_refused_by_the_gan(command, simulation, patches):
    simulation({id: user | {"pixels": np.stack([user["pixels"]] * 3, -1)} for id, user in patches(3).items()})
    done = command("train-gan")
    assert done.code == 3 and "3 channels" in done.line


@pytest.mark.parametrize(("name", "side"), [("train-gan", 7), ("train-classifier", 17), ("select", 24)])
def test_images_that_do_not_fit_the_networks_are_faults_of_the_data(command, simulation, patches, name, side):
    simulation(patches(6, side=side))
    done = command(name)
    assert done.code == 3


EMPTY = {
    "low-accuracy": ["--below", "0"],
    "high-accuracy": ["--above", "1"],
    "misclassified": ["--min-examples", "1"],
    "correct": ["--min-examples", "99"],
    "random": ["--share", "1e-12"],
}


@pytest.mark.parametrize("name", ["select", "train-gan"])
@pytest.mark.parametrize("cohort", EMPTY)
def test_an_empty_cohort_says_what_nobody_matches(command, simulation, patches, primary, name, cohort):
    simulation(patches(4))
    done = command(name, "--cohort", cohort, "--primary", primary, *EMPTY[cohort], "--quiet")
    assert done.code == 3 and f"the cohort {cohort} is empty" in done.line


BAD_COHORTS = {
    "not JSON": lambda value: "{",
    "no cohort": lambda value: "[1, 2]",
    "of another population": lambda value: json.dumps(value | {"population": "0" * 16}),
    "of another measurement": lambda value: json.dumps(value | {"measurement": "0" * 16}),
    "with a threshold outside [0, 1]": lambda value: json.dumps(
        value | {"rule": {"criterion": "low-accuracy", "below": PIXEL}}
    ),
    "whose primary model is gone": lambda value: json.dumps(value | {"primary": "gone"}),
}


@pytest.mark.parametrize("fault", BAD_COHORTS)
def test_a_cohort_file_that_does_not_fit_is_refused(fedprobe, copied, leaves_nothing, fault):
    file = copied / "cohorts" / "low.json"
    file.write_text(BAD_COHORTS[fault](json.loads(file.read_text())))
    with leaves_nothing():
        done = fedprobe("train-gan", "shards", "--cohort", file, "--quiet")
    assert (done.code, done.out) == (3, "")
    assert done.line.startswith("error: ")


def test_a_cohort_file_of_another_data_set_is_refused(fedprobe, copied, simulation, patches, leaves_nothing):
    simulation(patches(12, mislabelled=4))
    for options in ([], ["--dry-run", "--population", "9"]):
        with leaves_nothing():
            done = fedprobe("train-gan", "data", "--cohort", "cohorts/low.json", *options)
        assert done.code == 3 and "another data set" in done.line


def test_a_cohort_of_changed_shards_is_refused(fedprobe, copied, write_shard, patches, leaves_nothing):
    write_shard(copied / "shards" / "patches.h5", patches(11, mislabelled=4))
    with leaves_nothing():
        done = fedprobe("train-gan", "shards", "--cohort", "cohorts/low.json", "--quiet")
    assert done.code == 3 and "select the cohort again" in done.line


REFUSED = ["select", "train-classifier", "train-gan"]


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("registered", [True, False], ids=["private", "not registered"])
def test_a_private_population_is_refused_unopened(tmp_path, fedprobe, command, write_shard, patches, name, registered):
    """The shard is garbage: it could not be opened without another error."""
    path = write_shard(tmp_path / "data" / "s.h5", patches(2))
    if registered:
        assert fedprobe("init", "data").code == 0
    path.write_bytes(b"garbage")
    done = command(name)
    assert (done.code, done.out) == (4, "")
    assert done.line.startswith("refused: ")
    assert any(way_out in done.line for way_out in ("fedprobe init", "--population", "on a simulation"))


def test_private_data_never_becomes_a_simulation(fedprobe, command, tmp_path, write_shard, patches):
    write_shard(tmp_path / "data" / "s.h5", patches(3))
    assert fedprobe("init", "data", "--kind", "private").code == 0
    done = fedprobe("init", "data", "--kind", "simulation")
    assert (done.code, done.out) == (2, "") and "private" in done.line
    assert command("train-gan").code == 4


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("second", ["registered", "not registered"])
def test_shards_of_two_populations_are_refused(tmp_path, fedprobe, write_shard, patches, leaves_nothing, name, second):
    for number, folder in enumerate(("data", "other")):
        write_shard(tmp_path / folder / "s.h5", patches(3, seed=number))
    fedprobe("init", "data", "--kind", "simulation")
    if second == "registered":
        fedprobe("init", "other", "--kind", "simulation")
    words = [word.format(primary="p") for word in COMMANDS[name]]
    words.insert(words.index("data", 1 if name != "describe" else 2) + 1, "other")
    with leaves_nothing():
        done = fedprobe(*words)
    assert (done.code, done.out) == (2, "")
    assert "init" in done.line or "two populations" in done.line


USAGE = {
    "unknown cohort": ["--cohort", "everyone-i-like"],
    "unknown preset": ["--preset", "slow"],
    "unknown option": ["--roundz", "3"],
    "unknown method": ["--method", "magic"],
    "unknown architecture": ["--architecture", "huge"],
    "unknown optimizer": ["--server-optimizer", "magic"],
    "unknown generator optimizer": ["--generator-optimizer", "magic"],
    "unknown accountant": ["--accountant", "magic"],
    "unknown device": ["--device", "abacus"],
    "no rounds": ["--rounds", "0"],
    "no users": ["--users-per-round", "0"],
    "population 0": ["--population", "0"],
    "population below 0": ["--population", "-1"],
    "clip norm 0": ["--clip-norm", "0"],
    "clip norm NaN": ["--clip-norm", "nan"],
    "noise below 0": ["--noise-multiplier", "-1"],
    "noise NaN": ["--noise-multiplier", "nan"],
    "noise infinite": ["--noise-multiplier", "inf"],
    "learning rate NaN": ["--client-learning-rate", "nan"],
    "delta 0": ["--delta", "0"],
    "delta 1": ["--delta", "1"],
    "momentum 1": ["--server-momentum", "1"],
    "batches of 1": ["--generator-batch-size", "1"],
    "no workers": ["--workers", "0"],
    "below without its cohort": ["--below", "0.5"],
    "share above 1": ["--share", "2"],
    "a cohort that needs a primary model": ["--cohort", "low-accuracy"],
    "thresholds beside a cohort file": ["--cohort", "c.json", "--below", "0.5"],
    "resume without a run": ["--resume"],
    "resume of no run": ["--resume", "-o", "runs/none"],
    "dry run without a population": ["--dry-run"],
}


@pytest.mark.parametrize("fault", USAGE)
def test_what_cannot_be_asked_of_a_training_is_a_usage_error(command, simulation, patches, tiny, fault):
    simulation(patches(3))
    done = command("train-gan", *tiny, *USAGE[fault])
    assert (done.code, done.out) == (2, "")
    assert done.line.startswith("error: ")


NEARLY = {
    "low-accuracy": ["train-gan", "data", "--cohort", "low-acc"],
    "quick": ["train-gan", "data", "--preset", "qick"],
    "small": ["train-gan", "data", "--architecture", "smal"],
    "invert-pixels": ["data", "corrupt", "data", "out", "--bug", "invert-pixel"],
}


@pytest.mark.parametrize("meant", NEARLY)
def test_a_name_that_is_nearly_one_is_answered_with_that_one(fedprobe, simulation, patches, meant):
    simulation(patches(3))
    done = fedprobe(*NEARLY[meant])
    assert done.code == 2 and f"did you mean {meant}?" in done.line


def test_no_shards_at_all_is_a_usage_error(fedprobe):
    for name in REFUSED:
        done = fedprobe(name)
        assert done.code == 2 and "fedprobe.toml" in done.line


@pytest.mark.parametrize("as_told", [True, False], ids=["named", "by default"])
@pytest.mark.parametrize("name", ["train-classifier", "train-gan"])
def test_an_existing_run_is_not_overwritten(tmp_path, command, fedprobe, simulation, patches, tiny, name, as_told):
    simulation(patches(3))
    there = tmp_path / ("mine" if as_told else "runs/primary")
    there.mkdir(parents=True)
    (there / "note").write_text("mine")
    if name == "train-gan" and not as_told:
        names = [fedprobe("train-gan", "data", *tiny, "--json").json["run"] for _ in range(2)]
        assert names == ["runs/train-gan-random-1", "runs/train-gan-random-2"]
        return
    done = fedprobe(name, "data", *(["-o", "mine"] if as_told else []))
    assert (done.code, done.out) == (2, "") and "exists" in done.line
    assert [path.name for path in there.iterdir()] == ["note"]


@pytest.mark.parametrize("arguments", [["data", "demo", "out"], ["data", "corrupt", "data", "out/digits.h5"]])
def test_existing_shards_are_not_overwritten(tmp_path, fedprobe, simulation, patches, arguments):
    simulation(patches(3))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "digits.h5").write_bytes(b"mine")
    more = ["--bug", "invert-pixels"] if "corrupt" in arguments else ["--users", "20"]
    done = fedprobe(*arguments, *more)
    assert (done.code, done.out) == (2, "") and "exists" in done.line
    assert (tmp_path / "out" / "digits.h5").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data", "demo", "out", "--users", "3"], "20"),
        (["data", "demo", "out", "--users", "20", "--seed", "-1"], "seed"),
        (["data", "demo", "out", "--kind", "smells"], "kind"),
        (["data", "corrupt", "data", "out", "--bug", "rot"], "invert-pixels"),
        (["data", "corrupt", "data", "out", "--bug", "invert-pixels", "--users", "1.5"], "share"),
        (["init", "data", "--kind", "secret"], "private, simulation"),
        (["init", "data", "--budget-epsilon", "-1"], "budget"),
        (["init", "data", "--delta", "2"], "delta"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_asked_of_the_steward_is_a_usage_error(
    fedprobe, simulation, patches, leaves_nothing, arguments, words
):
    simulation(patches(3))
    with leaves_nothing():
        done = fedprobe(*arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.line


@pytest.mark.parametrize(
    "arguments",
    [
        ["train-gan", "shards", "-o", "in the way/run"],
        ["train-classifier", "shards", "-o", "in the way/model", "--epochs", "1"],
        ["select", "shards", "-o", "in the way/cohort.json"],
        ["data", "corrupt", "shards", "in the way/out", "--bug", "invert-pixels"],
        ["data", "demo", "in the way", "--users", "20"],
        ["sample", "runs/low", "-o", "in the way/picture.png"],
        ["sample", "runs/low", "-o", "picture.unheard-of"],
    ],
    ids=" ".join,
)
def test_an_output_that_cannot_be_written_is_a_usage_error(fedprobe, copied, leaves_nothing, tiny, arguments):
    """A file stands where a folder is wanted."""
    (copied / "in the way").write_text("a file")
    more = {"train-gan": tiny, "train-classifier": ["--no-progress"], "select": ["--no-progress"]}
    with leaves_nothing():
        done = fedprobe(*arguments, *more.get(arguments[0], []))
    assert done.code == 2
    assert done.line.startswith("error: ")


@pytest.mark.parametrize("damaged", ["tensors.safetensors", "manifest.json"])
def test_a_damaged_primary_model_is_refused(copied, fedprobe, leaves_nothing, damaged):
    shutil.rmtree(copied / "shards" / ".fedprobe")
    assert fedprobe("init", "shards", "--kind", "simulation").code == 0
    file = copied / "primary" / damaged
    file.write_bytes(file.read_bytes()[:-2])
    with leaves_nothing():
        done = fedprobe("select", "shards", "--cohort", "low-accuracy", "--primary", "primary")
    assert (done.code, done.out) == (3, "") and "primary" in done.line
