"""How likely every example is under a density of public ones: fitting it to public users, and measuring others."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from fedprobe.clients.data.index import DataError
from fedprobe.clients.data.shards import FederatedDataset
from fedprobe.clients.processes import in_processes
from fedprobe.models.density import COEFFICIENTS, ImageDensity, TextDensity
from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.models.public import PublicModel
from fedprobe.privacy.randomness import key

_EXAMPLES_AT_ONCE = 512
# Parts of the public users: the threshold is taken on users whom the density does not know.
FOLDS = 5


@dataclass(frozen=True)
class Densities:
    """ln of each example's density under a public model (`log_density` [examples], user by user; `offsets`).

    `id` is random, so that a cohort file may carry it. A user of a private population whose content is bad has no
    measured example.
    """

    id: str
    log_density: np.ndarray
    offsets: np.ndarray

    @property
    def measured(self) -> np.ndarray:
        """Which users have measured examples [users] (bool)."""
        return np.diff(self.offsets) > 0

    def of(self, users: np.ndarray) -> "Densities":
        """The same where only these `users` [users] (bool) have measured examples."""
        return Densities(self.id, *only(users, self.log_density, self.offsets))


def only(users: np.ndarray, values: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`values` [examples] and `offsets` where all but these `users` [users] (bool) have none."""
    counts = np.diff(offsets)
    return values[np.repeat(users, counts)], np.concatenate([[0], np.cumsum(np.where(users, counts, 0))])


def fit_images(
    dataset: FederatedDataset,
    components: int,
    seed: int,
    on_users: Callable[[int], None] = lambda users: None,
) -> tuple[ImageDensity, np.ndarray]:
    """The density of all images of a simulation, which is public, and ln of what users unknown to it would score [n].

    The scores are of folds of users, each under a density that was fitted to the others.
    Raises DataError where users or images are too few, or of a size that has no coordinates.
    """
    dataset.require_images()
    channels, height, width = dataset.shape
    folds = np.array([key(seed, "fold", user) % FOLDS for user in dataset.ids()])
    if len(set(folds)) < 2:
        raise DataError("there are too few public users: some are left out for the threshold; bring a dozen or more")

    def fit(users: np.ndarray) -> ImageDensity:
        stream = torch.Generator().manual_seed(key(seed, "density"))
        pixels = dataset.read(np.flatnonzero(users).tolist()).pixels
        return ImageDensity.fit(config, torch.from_numpy(pixels), components, stream)

    scores = []
    try:
        config = EmbeddingConfig(height, width, channels, coefficients=min(COEFFICIENTS, height * width))
        for fold in sorted(set(folds)):
            scores.append(log_densities(dataset, fit(folds != fold), folds == fold)[0])
            on_users(int((folds <= fold).sum()))
        return fit(np.full(len(folds), True)), np.concatenate(scores)
    except ValueError as error:
        raise DataError(f"no density can be fitted to these images: {error}") from None


def log_densities(
    dataset: FederatedDataset,
    density: ImageDensity | TextDensity,
    users: np.ndarray,
    on_users: Callable[[int], None] = lambda users: None,
    workers: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """ln of the density of every example of `users` [users] (bool), user by user; offsets of all users' [users + 1].

    `on_users` is told how many users are done, by so many `workers` (None: one a core). A user's are a function of her
    examples alone.
    """

    def measure(run: range) -> tuple[np.ndarray, np.ndarray]:
        chosen = [user for user in run if users[user]]
        if isinstance(density, ImageDensity):
            values = [density.log_density(torch.from_numpy(one.pixels)).numpy() for one in dataset.read(chosen)]
        else:
            values = [density.log_density(sentences).numpy() for sentences in dataset.texts(chosen)]
        counts = np.zeros(len(run), np.int64)
        counts[users[run.start : run.stop]] = [len(one) for one in values]
        return np.concatenate([np.zeros(0), *values]), counts

    runs = dataset.runs(_EXAMPLES_AT_ONCE)
    measured, counts = [np.zeros(0)], [np.zeros(1, np.int64)]
    for run, (values, numbers) in zip(runs, in_processes(measure, runs, workers), strict=True):
        measured.append(values)
        counts.append(numbers)
        on_users(run.stop)
    return np.concatenate(measured), np.cumsum(np.concatenate(counts))


def require_fit(dataset: FederatedDataset, public: PublicModel) -> None:
    """Raise DataError unless the examples are such as the public model was made of."""
    if public.kind == "text":
        dataset.require_text()
        return
    dataset.require_images()
    config = public.density.config
    if dataset.shape != (config.channels, config.height, config.width):
        raise DataError("the images are not of the size that the public ones have, which --public was made of")
