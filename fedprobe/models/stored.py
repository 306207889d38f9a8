"""Tensors and their description on disk, without pickle and with a check that both are whole.

A stored folder holds `tensors.safetensors` and `manifest.json`; the manifest carries a digest of the tensors and of
itself, so that a file that was cut short or altered is noticed before anything is built from it.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, contiguous_format

from fedprobe.errors import FedprobeError


class StoredError(FedprobeError):
    """A stored folder is missing, cut short or altered."""

    exit_code = 3


def store(folder: Path, tensors: dict[str, Tensor], description: dict) -> None:
    """Write `tensors` and the JSON object `description` to `folder`, all or nothing.

    Everything is written and synced under a temporary name and then renamed.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.temporary")
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    # Copies, in plain layout: the format takes no tensors that share memory.
    content = save(
        {name: tensor.detach().cpu().clone(memory_format=contiguous_format) for name, tensor in tensors.items()}
    )
    manifest = {**description, "tensors_sha256": hashlib.sha256(content).hexdigest()}
    manifest["manifest_sha256"] = _digest(manifest)
    _write(temporary / "tensors.safetensors", content)
    _write(temporary / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
    replaced = folder.with_name(f".{folder.name}.{os.getpid()}.replaced")
    if folder.exists():
        os.replace(folder, replaced)
    try:
        os.replace(temporary, folder)
    except OSError:
        if replaced.exists():
            os.replace(replaced, folder)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def load_stored(folder: Path) -> tuple[dict[str, Tensor], dict]:
    """Read back what `store` wrote: the tensors and the description, with `tensors_sha256`.

    Raises StoredError where it is not whole.
    """
    try:
        content = (folder / "tensors.safetensors").read_bytes()
        manifest = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        what = "train it again" if folder.exists() else "nothing is there; check the path"
        raise StoredError(f"{folder} is not a whole checkpoint or model folder; {what}") from error
    described = manifest if isinstance(manifest, dict) else {}
    claimed = described.pop("manifest_sha256", None)
    if claimed != _digest(described) or described.get("tensors_sha256") != hashlib.sha256(content).hexdigest():
        raise StoredError(
            f"{folder} was cut short or altered after it was written: its digest does not match. "
            "Train again; of a run, delete this checkpoint to go on from the one before it"
        )
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise StoredError(f"{folder} holds no readable tensors; train again") from error
    return tensors, described


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _digest(value: dict) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
