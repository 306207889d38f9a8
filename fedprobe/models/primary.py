"""A primary model's folder: what `train-classifier` leaves behind and `--primary` takes.

Pooled training leaves the folder itself, federated training the folder `model` in its run's.
"""

from pathlib import Path

import torch

from fedprobe.models.classifier import Classifier, ClassifierConfig
from fedprobe.models.stored import StoredError, load_stored, store

# The folder of the model in the run's folder.
INSIDE_RUN = "model"


def save_primary(folder: Path, model: Classifier, description: dict) -> None:
    """Write `model` with its `description` (how it was trained, its test accuracy) to `folder`."""
    store(folder, model.state_dict(), {**description, "kind": "classifier", "config": model.config.to_json()})


def load_primary(folder: Path, device: str = "cpu") -> tuple[Classifier, dict]:
    """The classifier in `folder` (or in the folder of a run), in evaluation mode, and its description.

    Raises StoredError where the folder is missing, altered, or holds another kind of model.
    """
    inner = folder / INSIDE_RUN
    if (folder / "config.json").is_file() and not inner.exists():
        raise StoredError(
            f"{folder} holds no classifier; --primary takes what train-classifier wrote, once it has ended"
        )
    tensors, description = load_stored(inner if inner.is_dir() else folder)
    if description.get("kind") != "classifier":
        raise StoredError(f"{folder} is no classifier; --primary takes what train-classifier wrote")
    model = Classifier(ClassifierConfig(**description["config"]))
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise StoredError(f"{folder} does not hold the tensors that its configuration asks for") from error
    return model.to(torch.device(device)).eval(), description
