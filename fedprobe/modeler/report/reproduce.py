"""The command that trains a run again, from what the run itself says."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedprobe.modeler.word_table import METHOD, is_word_table
from fedprobe.models.public import load_public
from fedprobe.models.stored import StoredError
from fedprobe.runs import Run

# What a preset decides alone: no option says it.
_PRESET_ALONE = ("peepholes", "tied", "held_out")
# What a method of one release decides alone: nobody sits a round out, and a user's vector has norm 1.
_ONE_RELEASE_ALONE = ("rounds", "users_per_round", "clip_norm", "participation")
_RULE = ("below", "above", "min_examples", "share", "where")


def command_of(run: Run) -> list[str]:
    """The command line that trained the run, every hyperparameter that its method takes spelled out; quoted, an option
    beside its value.

    On private data it is a new plan with new noise, at a new cost; in a simulation without noise it gives the same run.
    """
    config = run.config
    cohort, rule = config["cohort"], config["cohort"]["rule"]
    given = {"method": config.get("method")}
    if config["command"] != "train-classifier":
        given |= {"cohort": rule["criterion"], **{name: rule.get(name) for name in _RULE}}
        given |= {"primary": cohort.get("primary"), "public": cohort.get("public")}
        given |= {"public_share": _public_share(cohort)}
        given |= {"vocabulary": _vocabulary(run, config)}
        given |= config.get("text") or {}
    else:
        given |= {"classes": config["architecture"]["classes"]}
    given["preset"] = config["preset"]
    given |= {name: value for name, value in config["training"].items() if name not in _PRESET_ALONE}
    given |= {name: config.get(name) for name in ("population", "participation", "delta", "accountant", "seed")}
    if config.get("precision", "float32") != "float32":
        given["precision"] = config["precision"]
    if config.get("method") == METHOD:
        given = {name: value for name, value in given.items() if name not in _ONE_RELEASE_ALONE}
        if is_word_table(run):
            del given["preset"]
    merged = ["--merge-case"] if config["architecture"].get("merge_case") else []
    return [_quoted("fedprobe", config["command"], *config["shards"]), *_options(given | {"output": run.path}), *merged]


def report_command(paths: Sequence[Path], **given: object) -> list[str]:
    """The command line of a report on `paths`, with those options that were `given`."""
    return [_quoted("fedprobe", "report"), *map(_quoted, paths), *_options(given)]


def _options(given: Mapping[str, object]) -> list[str]:
    return [
        _quoted(f"--{name.replace('_', '-')}", *([] if value is True else [value]))
        for name, value in given.items()
        if value is not None and value is not False
    ]


def _quoted(*words: object) -> str:
    return shlex.join(map(str, words))


def _public_share(cohort: dict) -> float | None:
    """The share that set the threshold; None without one, or where its public model is not there any more."""
    if cohort.get("public") is None:
        return None
    try:
        model = load_public(Path(cohort["public"]))
    except StoredError:
        return None
    rule = cohort["rule"]
    return model.share_of(rule["at_most"]) if model.digest == rule["public"] else None


def _vocabulary(run: Run, config: dict) -> str | None:
    if config["command"] == "train-wordlm":
        return str(run.path / "vocabulary.txt")
    return config["cohort"].get("vocabulary")
