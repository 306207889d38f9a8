"""A primary model's folder, and the device that models are computed on."""

import pytest
import torch

from fedprobe.models import devices
from fedprobe.models.classifier import Classifier, ClassifierConfig, predict
from fedprobe.models.primary import INSIDE_RUN, load_primary, save_primary
from fedprobe.models.stored import StoredError, store

CONFIG = ClassifierConfig(18, 20, 1, 5, merge_case=True)


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier(CONFIG)


@pytest.mark.parametrize("inside", ["", "model"])
def test_a_saved_model_comes_back_in_evaluation_mode_from_its_folder_or_the_one_around(tmp_path, model, inside):
    save_primary(tmp_path / "primary" / inside, model, {"provenance": "public", "accuracy": 0.9})
    back, description = load_primary(tmp_path / "primary")
    assert not back.training
    assert back.config == CONFIG
    for (name, value), (other_name, other) in zip(model.state_dict().items(), back.state_dict().items(), strict=True):
        assert name == other_name
        assert torch.equal(value, other)
    assert (description["provenance"], description["accuracy"]) == ("public", 0.9)
    assert len(description["tensors_sha256"]) == 64
    images = torch.rand(3, 1, 18, 20, generator=torch.Generator().manual_seed(1))
    assert torch.equal(predict(model.eval(), images), predict(back, images))


def test_the_name_of_the_weights_changes_with_them_and_only_with_them(tmp_path, model):
    names = []
    for number, what in enumerate(({"accuracy": 0.9}, {"accuracy": 0.8})):
        save_primary(tmp_path / str(number), model, what)
        names.append(load_primary(tmp_path / str(number))[1]["tensors_sha256"])
    with torch.no_grad():
        next(model.parameters()).add_(1)
    save_primary(tmp_path / "other", model, {})
    assert names[0] == names[1] != load_primary(tmp_path / "other")[1]["tensors_sha256"]


def test_a_description_cannot_pass_itself_off_as_another_kind_or_size(tmp_path, model):
    save_primary(tmp_path / "one", model, {"kind": "gan", "config": {}})
    assert load_primary(tmp_path / "one")[0].config == CONFIG


@pytest.mark.parametrize("description", [{}, {"kind": "gan"}])
def test_another_kind_of_model_is_refused(tmp_path, model, description):
    store(tmp_path / "one", model.state_dict(), {**description, "config": CONFIG.to_json()})
    with pytest.raises(StoredError, match="no classifier"):
        load_primary(tmp_path / "one")


def test_tensors_that_do_not_fit_the_configuration_are_refused(tmp_path, model):
    other = ClassifierConfig(18, 20, 1, 6)
    store(tmp_path / "one", model.state_dict(), {"kind": "classifier", "config": other.to_json()})
    with pytest.raises(StoredError, match="configuration"):
        load_primary(tmp_path / "one")


def test_a_run_that_has_left_no_model_yet_is_refused(tmp_path, model):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StoredError, match="holds no classifier"):
        load_primary(tmp_path)
    save_primary(tmp_path / INSIDE_RUN, model, {"provenance": "dp"})
    assert load_primary(tmp_path)[1]["provenance"] == "dp"


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(StoredError):
        load_primary(tmp_path / "nowhere")


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_cpu_is_always_there_and_computes_on_one_thread(threads):
    torch.set_num_threads(2)
    assert devices.prepare("cpu") == "cpu"
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("device", ["no-such-device", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_with_the_way_out(threads, device):
    with pytest.raises(ValueError, match="--device cpu"):
        devices.prepare(device)
