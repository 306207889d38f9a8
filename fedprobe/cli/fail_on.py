"""`--fail-on` of `fedprobe compare`: conditions on what is found, which can hold, and what is said where one does."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import typer

from fedprobe.modeler.findings import LOOKED_FOR, OF_CLASSES

_FORM = re.compile(r"\s*([a-z-]+)\s*>\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*")
_NAMES = tuple(dict.fromkeys(name for names in LOOKED_FOR.values() for name in names))


@dataclass(frozen=True)
class Condition:
    """That the finding `name` is stronger than `bound`, which is below 1."""

    name: str
    bound: float

    @classmethod
    def of(cls, text: str) -> "Condition":
        """Raises a usage error for what is no condition, names no finding of this version, or can never hold."""
        match = _FORM.fullmatch(text)
        if not match:
            raise typer.BadParameter("--fail-on takes FINDING>BOUND, such as 'inversion>0.5'")
        name, bound = match[1], float(match[2])
        if name not in _NAMES:
            near = " or ".join(get_close_matches(name, _NAMES)) or "one that docs/findings.md lists"
            raise typer.BadParameter(f"--fail-on: there is no finding {name}; take {near}")
        if bound >= 1:
            raise typer.BadParameter(f"--fail-on {text}: a strength is at most 1, so that needs a bound below 1")
        return cls(name, bound)

    def require_looked_for(self, searched: Mapping[str, Collection[str]]) -> None:
        """Raise a usage error where runs can never have the finding; `searched`: what is looked for, by their kind."""
        if any(self.name in names for names in searched.values()):
            return
        kinds = [kind for kind, names in LOOKED_FOR.items() if self.name in names]
        if not searched.keys().isdisjoint(kinds):
            raise typer.BadParameter(
                f"--fail-on: {self.name} is not looked for between these runs; it takes {_takes(self.name)}"
            )
        raise typer.BadParameter(
            f"--fail-on: {self.name} is looked for in {' and '.join(kinds)}, not in {' or '.join(searched)}"
        )


def _takes(name: str) -> str:
    """What it takes for the finding, one of images, to be looked for."""
    if name not in OF_CLASSES:
        return "images without colour, of 8 x 8 pixels or more"
    return "runs with --classes of one feature map, or --primary and " + (
        "runs with --classes" if name == "label-confusion" else "GANs"
    )


def held(conditions: Sequence[Condition], findings: Sequence[dict]) -> list[str]:
    """What to say of each finding (its JSON) that is stronger than the bound of a condition."""
    return [
        f"{found['name']} of {found['of']} has strength {found['strength']:.2f}, above the bound {condition.bound:g}"
        for condition in conditions
        for found in findings
        if found["name"] == condition.name and found["strength"] > condition.bound
    ]
