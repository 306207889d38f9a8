"""What the tests of the server share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fedprobe.privacy.ledger import Ledger, create
from fedprobe.privacy.population import Population


@pytest.fixture(scope="session")
def simulated_ledger() -> Callable[[Path], Ledger]:
    """A function that gives the ledger of a simulation in a folder, the same at every call."""

    def ledger(folder: Path) -> Ledger:
        home = folder / "beside the data" / "abc"
        home.mkdir(parents=True, exist_ok=True)
        return create(Population("abc", "simulation", ledger=str(home)), [folder / "shard.h5"])

    return ledger
