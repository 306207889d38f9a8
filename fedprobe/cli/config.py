"""Where options come from: flag, then FEDPROBE_*, then fedprobe.toml, then default."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from fedprobe.errors import FedprobeError, instead_of

FILE = "fedprobe.toml"
_KEYS = {
    "dataset": {"shards", "column", "tokenizer"},
    "vocabulary": {"file", "provenance"},
    "primary": {"model", "provenance"},
    "privacy": {"budget-epsilon"},
}
PROVENANCES = ("public", "dp", "conditional")


class ConfigError(FedprobeError):
    """fedprobe.toml cannot be used as it stands."""

    exit_code = 2


@dataclass(frozen=True)
class Settings:
    """What fedprobe.toml says: shards, primary model, vocabulary (paths taken from the file), defaults of options."""

    path: Path | None = None
    shards: tuple[str, ...] = ()
    primary: Path | None = None
    provenance: str | None = None
    budget: float | None = None
    defaults: dict | None = None
    column: str | None = None
    tokenizer: str | None = None
    vocabulary: Path | None = None
    vocabulary_provenance: str | None = None

    def provenance_of(self, vocabulary: Path | str | None) -> str | None:
        """What is said of the words in the file `vocabulary`: nothing unless it is the file that is spoken of."""
        if vocabulary is None or self.vocabulary is None or Path(vocabulary).resolve() != self.vocabulary.resolve():
            return None
        return self.vocabulary_provenance


def load(options_of: dict[str, dict[str, str]]) -> Settings:
    """Read fedprobe.toml of this folder or the nearest one above, if any.

    `options_of` maps a command's name to its options (spelled without dashes in front) and their parameters. Raises
    ConfigError, with a did-you-mean, for a section or key that does not exist.
    """
    try:
        folder = Path.cwd()
    except FileNotFoundError:
        raise ConfigError("the current folder no longer exists; change to one that does") from None
    path = next((parent / FILE for parent in (folder, *folder.parents) if (parent / FILE).is_file()), None)
    if path is None:
        return Settings()
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    defaults = {}
    for section, keys in values.items():
        known = _KEYS.get(section) or options_of.get(section)
        if known is None:
            raise ConfigError(f"{path}: unknown section [{section}]; {instead_of(section, [*_KEYS, *options_of])}")
        if not isinstance(keys, dict):
            raise ConfigError(f"{path}: {section} must be a section, [{section}]")
        for key in keys:
            if key.replace("_", "-") not in known:
                near = instead_of(key.replace("_", "-"), sorted(known))
                raise ConfigError(f"{path}: unknown key {key} in [{section}]; {near}")
        if section not in _KEYS:
            defaults[section] = {known[key.replace("_", "-")]: value for key, value in keys.items()}
    shards = values.get("dataset", {}).get("shards", [])
    shards = [shards] if isinstance(shards, str) else shards
    primary = values.get("primary", {})
    _require(isinstance(shards, list) and all(isinstance(shard, str) for shard in shards), path, "shards", "text")
    _require(isinstance(primary.get("model", ""), str), path, "model", "a folder")
    dataset, vocabulary = values.get("dataset", {}), values.get("vocabulary", {})
    for section, key in ((dataset, "column"), (dataset, "tokenizer"), (vocabulary, "file")):
        _require(isinstance(section.get(key, ""), str), path, key, "text")
    for section in (primary, vocabulary):
        said = section.get("provenance", "public")
        _require(said in PROVENANCES, path, "provenance", f"one of {', '.join(PROVENANCES)}")
    privacy = {key.replace("_", "-"): value for key, value in values.get("privacy", {}).items()}
    budget = privacy.get("budget-epsilon")
    _require(
        budget is None or (isinstance(budget, int | float) and budget > 0), path, "budget_epsilon", "a positive number"
    )
    return Settings(
        path,
        tuple(str(path.parent / shard) for shard in shards),
        path.parent / primary["model"] if "model" in primary else None,
        primary.get("provenance"),
        budget,
        defaults,
        dataset.get("column"),
        dataset.get("tokenizer"),
        path.parent / vocabulary["file"] if "file" in vocabulary else None,
        vocabulary.get("provenance"),
    )


def _require(holds: bool, path: Path, key: str, what: str) -> None:
    if not holds:
        raise ConfigError(f"{path}: {key} must be {what}")


TEMPLATE = """\
# Defaults for fedprobe commands run in this folder or below. Flags and FEDPROBE_* variables win over them.

[dataset]
shards = {shards}        # files, folders or globs; relative to this file

# [primary]
# model = "runs/primary"        # what train-classifier wrote
# provenance = "public"         # public | dp | conditional: where the primary model comes from

# [vocabulary]
# file = "vocabulary.txt"       # what data vocabulary wrote
# provenance = "public"         # where its words come from

# [train-gan]                   # defaults of a command's options, spelled as the options are
# preset = "quick"
"""
