"""The primary classifier: its size, the independence of each image's logits, and the merging of case."""

import string

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedprobe.models.classifier import Classifier, ClassifierConfig, channels_last, classifier_of, merge_case, predict
from fedprobe.models.flat import attach, flatten

CONFIG = ClassifierConfig(18, 19, 1, 7)


@pytest.fixture(scope="module")
def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier(CONFIG).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(300, 1, 18, 19, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_it_has_the_papers_number_of_parameters():
    classifier = Classifier(ClassifierConfig(28, 28, 1, 36))
    assert sum(parameter.numel() for parameter in classifier.parameters()) == 95_012
    assert not list(classifier.buffers())


@settings(deadline=None, max_examples=15)
@given(st.integers(18, 40), st.integers(18, 40), st.integers(1, 3), st.integers(1, 62), st.integers(1, 3))
def test_every_size_from_eighteen_pixels_gives_one_logit_a_class(height, width, channels, classes, count):
    classifier = Classifier(ClassifierConfig(height, width, channels, classes))
    with torch.no_grad():
        logits = classifier(torch.zeros(count, channels, height, width))
    assert logits.shape == (count, classes)


@pytest.mark.parametrize("height, width", [(17, 28), (28, 17), (8, 8)])
def test_smaller_images_are_refused(height, width):
    with pytest.raises(ValueError, match="18 x 18"):
        Classifier(ClassifierConfig(height, width, 1, 36))


@pytest.mark.parametrize("labels, merged, classes", [(62, False, 62), (62, True, 36), (7, False, 7)])
def test_a_configuration_knows_how_many_labels_there_are_before_merging(labels, merged, classes):
    config = ClassifierConfig.of((3, 18, 20), labels, merged)
    assert (config.channels, config.height, config.width) == (3, 18, 20)
    assert (config.labels, config.classes, config.merge_case) == (labels, classes, merged)


@pytest.mark.parametrize(
    "shape, labels, merged, words", [((1, 17, 18), 7, False, "18 x 18"), ((1, 18, 18), 7, True, "62")]
)
def test_a_configuration_of_no_classifier_is_refused(shape, labels, merged, words):
    with pytest.raises(ValueError, match=words):
        ClassifierConfig.of(shape, labels, merged)


def test_a_classifier_is_its_flat_parameters_copied(model, images):
    vector = flatten(model)
    built = classifier_of(CONFIG, vector)
    assert not built.training
    torch.testing.assert_close(predict(built, images[:5]), predict(model, images[:5]))
    with torch.no_grad():
        next(built.parameters()).zero_()
    assert torch.equal(vector, flatten(model))


def test_logits_agree_with_the_layers_written_out(model, images):
    convolutions = [layer for layer in model.features if isinstance(layer, nn.Conv2d)]
    dense = [layer for layer in model.head if isinstance(layer, nn.Linear)]
    functional = nn.functional
    maps = images[:5].double()
    for number, layer in enumerate(convolutions):
        maps = functional.conv2d(maps, layer.weight.double(), layer.bias.double()).relu()
        if number < 2:
            maps = functional.max_pool2d(maps, 2)
    hidden = functional.linear(maps.flatten(1), dense[0].weight.double(), dense[0].bias.double()).relu()
    expected = functional.linear(hidden, dense[1].weight.double(), dense[1].bias.double())
    torch.testing.assert_close(predict(model, images[:5]).double(), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def every(model, images) -> torch.Tensor:
    return predict(model, images)


@settings(deadline=None, max_examples=12)
@given(st.data())
def test_an_images_logits_are_the_same_bits_alone_and_among_any_others(model, images, every, data):
    chosen = data.draw(st.lists(st.integers(0, len(images) - 1), min_size=1, max_size=len(images)))
    assert torch.equal(predict(model, images[chosen]), every[chosen])
    assert torch.equal(predict(model, images[chosen[:1]]), every[chosen[:1]])


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 20), st.integers(1, 8))
def test_every_batch_has_one_shape_and_padding_never_comes_out(count, batch_size):
    shapes = []

    class Recorder(nn.Module):
        config = ClassifierConfig(18, 18, 1, 3)

        def forward(self, batch):
            shapes.append(tuple(batch.shape))
            return batch[:, 0, :3, 0] + 1

    batch = torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).expand(count, 1, 18, 18)
    logits = predict(Recorder(), batch, batch_size)
    assert shapes == [(batch_size, 1, 18, 18)] * -(-count // batch_size)
    assert logits.tolist() == [[number + 1.0] * 3 for number in range(count)]


def test_predicting_leaves_no_graph_behind(model, images):
    assert not predict(model, images[:2]).requires_grad


def test_case_is_merged_for_all_62_labels():
    characters = string.digits + string.ascii_uppercase + string.ascii_lowercase
    merged = string.digits + string.ascii_uppercase
    labels = torch.arange(62)
    assert merge_case(labels).tolist() == [merged.index(character.upper()) for character in characters]
    assert labels.tolist() == list(range(62))


def test_a_configuration_survives_json():
    config = ClassifierConfig(28, 30, 3, 36, merge_case=True)
    assert ClassifierConfig(**config.to_json()) == config


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_lie_last_in_memory_in_every_layer_whatever_the_parameters_are_views_of(channels):
    images = torch.rand(2, channels, 20, 22)
    assert torch.equal(channels_last(images), images)
    model = ClassifierConfig(20, 22, channels, 5).build()
    attach(model, flatten(model))
    value = channels_last(images)
    for layer in model.features[:-1]:
        assert value.stride(1) == 1
        value = layer(value)
    # From there on it is a matter of order, which stays that of channels first.
    assert torch.equal(model.features(channels_last(images)), value.contiguous().flatten(1))
