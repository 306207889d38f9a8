"""The primary model: the seed decides it, held-out examples stay out, labels that do not fit are refused."""

import numpy as np
import pytest
import torch

from fedprobe.clients.classifier_training import count_classes, exact_accuracy, hold_out, train_classifier
from fedprobe.clients.data.shards import DataError, open_dataset
from fedprobe.clients.selection import Members
from fedprobe.models.primary import load_primary

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


def test_held_out_examples_and_the_others_are_everybodys(dataset):
    kept, tested = hold_out(dataset, 0.3, seed=0)
    assert len(kept) == len(tested) == len(dataset)
    for one, other, count in zip(kept.rows, tested.rows, dataset.examples, strict=True):
        assert sorted([*one, *other]) == list(range(count))
    held_out = sum(map(len, tested.rows))
    examples = int(dataset.examples.sum())
    # Six standard deviations of a binomial count.
    assert abs(held_out - 0.3 * examples) < 6 * (0.21 * examples) ** 0.5
    assert all(map(np.array_equal, tested.rows, hold_out(dataset, 0.3, seed=0)[1].rows))
    assert not all(map(np.array_equal, tested.rows, hold_out(dataset, 0.3, seed=1)[1].rows))


def test_which_examples_of_a_user_are_held_out_depends_on_her_alone(tmp_path, write_shard, patches, dataset):
    few = dict(list(patches(5).items())[2:4])
    smaller = open_dataset([write_shard(tmp_path / "few.h5", few)])
    all_held, few_held = (hold_out(one, 0.3, seed=0)[1].rows for one in (dataset, smaller))
    for user, rows in zip(smaller.users, few_held, strict=True):
        assert np.array_equal(rows, all_held[dataset.users.index(user)])


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_nothing_to_train_on_or_to_test_on_is_refused(dataset, share):
    with pytest.raises(DataError, match="--test"):
        hold_out(dataset, share, seed=0)


def test_an_exact_accuracy_counts_the_selected_examples(dataset, primary):
    model, _ = load_primary(primary)
    examples = int(dataset.examples.sum())
    for at_once in (1, 2, 64):
        assert exact_accuracy(model, dataset, users_at_once=at_once) == (1, examples)
    (labels,) = [batch.labels for _, batch in dataset.batches()]
    rows = [np.arange(2), np.arange(3)]
    assert exact_accuracy(model, dataset, Members(np.array([1, 4]), rows)) == (1, 5)
    with torch.no_grad():
        model.head[-1].weight.zero_()
        model.head[-1].bias.copy_(torch.tensor([1.0, 0.0]))
    assert exact_accuracy(model, dataset) == (pytest.approx((labels == 0).mean()), examples)
