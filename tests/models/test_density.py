"""Densities of public examples: whole densities, the same for the same examples, and what they call rare is rare."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedprobe.models.density import ImageDensity, TextDensity, fit_mixture
from fedprobe.models.embedding import EmbeddingConfig
from fedprobe.models.language import LanguageConfig, log_probabilities
from fedprobe.models.pen_strokes import pen_strokes
from fedprobe.models.public import LEAST_SHARE, load_public, quantiles_of, save_public
from fedprobe.models.stored import StoredError, store
from fedprobe.models.vocabulary import Vocabulary

SIDE = 20


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(count: int, size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, size, generator=stream(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return pen_strokes(300, SIDE, SIDE)


@pytest.fixture(scope="module")
def density(images) -> ImageDensity:
    return ImageDensity.fit(EmbeddingConfig(SIDE, SIDE, coefficients=16), images, 4, stream())


@pytest.fixture(scope="module")
def sentences_density() -> TextDensity:
    words = Vocabulary(("the", "a", "of", "cat"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LanguageConfig(words.symbols, 6, 8, 6, 1, peepholes=False, tied=True).build()
    return TextDensity(model.eval(), words, 5)


@given(st.integers(1, 5), st.integers(0, 9))
def test_a_mixture_integrates_to_one(components, seed):
    mixture = fit_mixture(points(40, 1, seed), components, stream(seed))
    line = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    mass = mixture.log_densities(line[:, None]).logsumexp(1).exp().sum() * 0.001
    assert float(mass) == pytest.approx(1, abs=1e-3)


def test_one_component_is_the_gaussian_of_the_points():
    many = points(4000, 3) @ torch.tensor([[1.0, 0.5, 0], [0, 2, 0], [0, 0, 0.3]], dtype=torch.float64) + 5
    mixture = fit_mixture(many, 1, stream())
    assert torch.allclose(mixture.means[0], many.mean(0))
    covariance = mixture.factors[0] @ mixture.factors[0].T
    assert torch.allclose(covariance, torch.cov(many.T), atol=0.02)


def test_fewer_points_than_components_are_refused():
    with pytest.raises(ValueError, match="--components"):
        fit_mixture(points(3, 2), 4, stream())


def test_points_that_are_all_alike_have_a_density_all_the_same():
    mixture = fit_mixture(torch.ones(30, 2, dtype=torch.float64), 3, stream())
    assert mixture.log_densities(torch.ones(1, 2, dtype=torch.float64)).isfinite().all()


def test_an_images_density_is_its_own(images, density):
    together = density.log_density(images[:50])
    alone = torch.cat([density.log_density(image[None]) for image in images[:50]])
    assert torch.allclose(together, alone, atol=1e-3)


@pytest.mark.parametrize("change", [lambda x: 1 - x, lambda x: torch.rand(x.shape, generator=stream())])
def test_what_the_public_has_nothing_of_is_rarer_than_nearly_all_of_it(images, density, change):
    assert density.log_density(change(images)).max() < density.log_density(images).quantile(0.01)


def test_a_sentence_is_scored_a_token_and_an_unknown_word_is_one_of_many(sentences_density):
    exact = sentences_density.model, sentences_density.vocabulary
    (known, unknown, repeated) = sentences_density.log_density([["the", "cat"], ["the", "dog"], ["dog", "fish"]])
    assert known < 0 and unknown < 0
    raw = log_probabilities(*exact, [[4, 7, 3], [4, 1, 3]])
    assert float(known) == pytest.approx(raw[0] / 3)
    assert float(unknown) == pytest.approx((raw[1] - math.log(4)) / 3)
    assert repeated.isfinite()


def test_a_long_sentence_is_scored_by_its_beginning(sentences_density):
    one, other = sentences_density.log_density([["the"] * 5, ["the"] * 5 + ["dog"] * 10_000])
    assert float(one) == pytest.approx(float(other))
    assert len(sentences_density.log_density([])) == 0


@pytest.mark.parametrize("kind", ["density", "sentences_density"])
def test_a_folder_leads_back_to_the_density_and_its_thresholds(tmp_path, request, kind, images):
    made = request.getfixturevalue(kind)
    examples = images[:40] if kind == "density" else [["the", "cat"], ["a"], ["of", "the", "sea"]]
    scores = made.log_density(examples).numpy()
    save_public(tmp_path / "public", made, quantiles_of(scores), {"populations": ["one"]})
    found = load_public(tmp_path / "public")
    assert found.description["populations"] == ["one"]
    assert found.density.log_density(examples).tolist() == scores.tolist()
    assert found.kind == ("images" if kind == "density" else "text")
    thresholds = [found.threshold(share) for share in (LEAST_SHARE, 0.01, 0.5, 0.999)]
    assert thresholds == sorted(thresholds) and scores.min() <= thresholds[0] and thresholds[-1] <= scores.max()
    assert (scores <= found.threshold(0.5)).mean() == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("change", ["quantiles", "means", "config", "kind"])
def test_a_folder_of_something_else_is_refused(tmp_path, density, change):
    tensors = {**density.mixture.tensors(), "quantiles": torch.zeros(1001, dtype=torch.float64)}
    description = {"kind": "density of images", "config": density.config.to_json()}
    if change in tensors:
        del tensors[change]
    if change == "config":
        description["config"] = {"height": 3}
    if change == "kind":
        description["kind"] = "classifier"
    store(tmp_path / "public", tensors, description)
    with pytest.raises(StoredError):
        load_public(tmp_path / "public")


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(StoredError, match="nothing is there"):
        load_public(tmp_path / "none")
