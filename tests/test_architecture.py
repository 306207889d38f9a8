"""The walls of the house: which room may import which, held over the source itself."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "fedprobe"
FILES = sorted(PACKAGE.rglob("*.py"))

# The table of the architecture. `errors` is no room: a base class that imports nothing.
ALLOWED = {
    "models": set(),
    "privacy": set(),
    "runs": {"models", "privacy"},
    "clients": {"models", "privacy"},
    "server": {"clients", "models", "privacy", "runs"},
    "modeler": {"models", "privacy", "runs"},
    "cli": {"clients", "server", "modeler", "models", "privacy", "runs"},
    "errors": set(),
}
# Heavy or private-data libraries that a room has no business with.
FORBIDDEN_LIBRARIES = {
    "models": {"h5py", "pandas", "opacus", "dp_accounting"},
    "privacy": {"torch", "h5py", "pandas"},
    "runs": {"h5py", "pandas"},
    "server": {"h5py", "pandas"},
    "modeler": {"h5py", "pandas"},
    "errors": {"torch", "numpy"},
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that this test can read them"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_import_only_what_the_architecture_allows(path):
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    for module in imports_of(path):
        parts = module.split(".")
        if parts[0] == "fedprobe" and parts[1] not in (room, "errors", "__version__"):
            assert parts[1] in ALLOWED[room], f"{room} may not import {module}"
        assert parts[0] not in FORBIDDEN_LIBRARIES.get(room, set()), f"{room} may not import {module}"
        assert parts[0] != "click", "some versions of Typer do not have click"


def test_the_package_is_made_of_the_rooms_in_the_table_and_nothing_else():
    rooms = {room_of(path) for path in FILES} - {"__init__", "__main__"}
    assert rooms == set(ALLOWED)


def test_the_test_sees_a_forbidden_import(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text("def f():\n    from fedprobe.clients.data import shards\n    import h5py.defs\n")
    assert imports_of(file) == {"fedprobe.clients.data.shards", "h5py.defs"}


def test_noise_is_drawn_by_one_function_which_releases_histograms_and_word_tables_call():
    users = {
        str(path.relative_to(PACKAGE)) for path in FILES for module in imports_of(path) if "privacy.noise" in module
    }
    assert users == {"privacy/mechanism.py", "privacy/histogram.py", "privacy/partition_selection.py"}
    assert all((PACKAGE / path).read_text().count("noise.gaussian(") == 1 for path in users)


def test_nothing_is_unpickled_and_no_generator_is_seeded_globally():
    for path in FILES:
        source = path.read_text()
        assert "torch.load(" not in source and "pickle" not in imports_of(path), path
        assert "allow_pickle=True" not in source, path
        assert "np.random.seed(" not in source and "random.seed(" not in source, path


def test_library_code_never_prints():
    for path in FILES:
        if room_of(path) not in ("cli", "__main__"):
            for node in ast.walk(ast.parse(path.read_text())):
                assert not (isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print"), path
