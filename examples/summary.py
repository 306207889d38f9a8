"""The last lines of a hunt: what each way found, and what it cost, both as `fedprobe compare --json` says.

python ../summary.py "one round" compare-one-round.json "the paper's way" compare.json
"""

import json
import sys
from pathlib import Path

# From here on fedprobe itself calls an epsilon no meaningful protection.
MEANINGFUL_EPSILON = 10


def cost(epsilon: float | None, delta: float) -> str:
    """Epsilon in words; None is infinite, as in fedprobe's JSON."""
    if epsilon is None:
        return "no noise, no protection"
    figure = f"{epsilon / 1e6:.1f} million" if epsilon >= 1e5 else f"{epsilon:,.2f}"
    return f"epsilon {figure} at delta {delta:.1e}" + (", no protection" if epsilon > MEANINGFUL_EPSILON else "")


def main() -> None:
    for way, path in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        compared = json.loads(Path(path).read_text())
        found = ", ".join(dict.fromkeys(finding["name"] for finding in compared["findings"])) or "nothing"
        print(f"{way + ':':<17}found {found}; {cost(compared['privacy']['epsilon'], compared['privacy']['delta'])}")


if __name__ == "__main__":
    main()
