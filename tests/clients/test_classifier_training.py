"""The primary model: the seed decides it, held-out examples stay out, labels that do not fit are refused."""

import numpy as np
import pytest
import torch

from fedprobe.clients.classifier_training import count_classes, train_classifier
from fedprobe.clients.data.shards import DataError, open_dataset

QUICK = {"classes": 2, "merged": False, "epochs": 1, "batch_size": 32, "learning_rate": 0.003, "seed": 0}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, write_shard, patches):
    return open_dataset([write_shard(tmp_path_factory.mktemp("data") / "s.h5", patches(5))])


def test_the_seed_decides_every_weight_and_no_global_generator_moves(dataset):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    steps = []
    first = train_classifier(dataset, None, **QUICK, on_step=steps.append)
    assert torch.equal(before, torch.random.get_rng_state())
    assert steps == list(range(1, first.steps + 1))
    again, other = (train_classifier(dataset, None, **QUICK | {"seed": seed}) for seed in (0, 1))
    weights = [torch.cat([one.flatten() for one in it.model.parameters()]) for it in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_tenth_is_held_out_or_the_test_shards_are(dataset):
    examples = int(dataset.examples.sum())
    assert train_classifier(dataset, None, **QUICK).test_examples == examples // 10
    assert train_classifier(dataset, dataset, **QUICK).test_examples == examples


def test_classes_are_counted_from_the_labels(tmp_path, write_shard, dataset):
    assert count_classes(dataset) == 2
    image = np.zeros((1, 20, 20), np.float32)
    for labels, words in (([-1], "labels"), ([10_000], "labels")):
        path = write_shard(tmp_path / "bad.h5", {"u": {"pixels": image, "label": np.array(labels)}})
        with pytest.raises(DataError, match=words):
            count_classes(open_dataset([path]))


@pytest.mark.parametrize(
    ("data", "change", "words"),
    [
        ({"pixels": np.zeros((20, 20, 20), np.float32)}, {}, "no labels"),
        ({"pixels": np.zeros((20, 12, 12), np.float32), "label": np.zeros(20, int)}, {}, "18 x 18"),
        ({"pixels": np.zeros((1, 20, 20), np.float32), "label": np.zeros(1, int)}, {}, "too few"),
        ({"pixels": np.zeros((20, 20, 20), np.float32), "label": np.zeros(20, int)}, {"merged": True}, "62"),
    ],
    ids=["no labels", "too small", "too few", "no EMNIST"],
)
def test_data_that_cannot_be_trained_on_is_refused(tmp_path, write_shard, data, change, words):
    dataset = open_dataset([write_shard(tmp_path / "s.h5", {"u": data})])
    with pytest.raises(DataError, match=words):
        train_classifier(dataset, None, **QUICK | change)
