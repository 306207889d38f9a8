"""fedprobe beside its peers, in a short form: whether it runs, the ratio's arithmetic, and the README's table."""

import copy
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import readme
from benchmarks.networks import ChannelsLastCnn, LeafCnn
from benchmarks.peers import plain
from benchmarks.peers.compare import BARE, commands, left_out, main, table
from benchmarks.peers.environments import PEERS, ROOT, W1_PLAIN, WORKLOADS, python_of
from benchmarks.peers.ratios import median_ratio
from benchmarks.peers.turns import Program, TurnError, _tree
from fedprobe.models import cifg
from fedprobe.models.gan import critic_loss
from fedprobe.models.language import LanguageConfig

seconds = st.lists(st.floats(0.1, 100), min_size=1, max_size=8)


def test_the_short_form_runs_and_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["--short", "--workloads", "W3", "--cache", str(tmp_path / "none"), "--json"])
    out, err = capsys.readouterr()
    row = [cell.strip() for cell in out.splitlines()[-1].split("|")]
    assert row[1:3] == ["W3", BARE]
    assert all(math.isfinite(float(cell.replace(",", ""))) for cell in (*row[3:6], *row[7:9]))
    assert all(f"{peer} is left out, having no environment" in err for peer in PEERS)


@given(seconds, st.floats(0.1, 10))
def test_the_ratio_of_proportional_rounds_is_their_proportion(theirs: list[float], factor: float) -> None:
    ratio = median_ratio([factor * value for value in theirs], theirs, draws=50)
    assert ratio == pytest.approx((factor, factor, factor))


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.1, 100)), min_size=1, max_size=8))
def test_the_median_lies_in_its_interval_and_that_among_the_ratios(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = zip(*pairs, strict=True)
    median, low, high = median_ratio(ours, theirs, draws=200)
    ratios = [mine / its for mine, its in pairs]
    assert min(ratios) <= low <= high <= max(ratios)
    assert min(ratios) <= median <= max(ratios)


def test_the_table_replaces_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("above\n<!-- peers: begin -->\nold\n<!-- peers: end -->\nbelow\n")
    measured = {"W1": {name: {"seconds": [1.0, 2.0], "peak_mb": 1234.0} for name in ("fedprobe", BARE)}}
    readme.write("peers", table(measured), page)
    once = page.read_text()
    readme.write("peers", table(measured), page)
    assert page.read_text() == once
    assert once.startswith("above\n") and once.endswith("\nbelow\n")
    assert "old" not in once and "| W1 | bare loop | 1.50 | 1.50 | 1.00 | 1.00 to 1.00 | 1,234 | 1,234 |" in once


def test_the_readme_has_the_place() -> None:
    assert readme.README.read_text().count("<!-- peers: begin -->") == 1


def test_an_environment_that_was_not_finished_is_none(tmp_path: Path) -> None:
    (tmp_path / "pfl/bin").mkdir(parents=True)
    (tmp_path / "pfl/bin/python").touch()
    assert python_of(tmp_path, "pfl") is None
    (tmp_path / "pfl/.installed").touch()
    assert python_of(tmp_path, "pfl") == tmp_path / "pfl/bin/python"


def make_environments(cache: Path, peers: Iterable[str]) -> None:
    for peer in peers:
        (cache / peer / "bin").mkdir(parents=True)
        (cache / peer / "bin/python").touch()
        (cache / peer / ".installed").touch()


@given(st.sets(st.sampled_from(list(PEERS))), st.sets(st.sampled_from(list(PEERS))), st.sampled_from(WORKLOADS))
def test_a_peer_asked_for_runs_or_is_said_to_be_left_out(installed: set[str], asked: set[str], workload: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name)
        make_environments(cache, installed)
        found = commands(cache, workload, 3, 2)
        lines = left_out(cache, [workload], [*asked, BARE])
    assert list(found)[:2] == ["fedprobe", BARE]
    assert {line.split()[0] for line in lines} == asked - set(found)
    assert set(found) - {"fedprobe", BARE} == {peer for peer in installed if workload in PEERS[peer].workloads}


def test_every_peer_has_the_same_options(tmp_path: Path) -> None:
    make_environments(tmp_path, PEERS)
    for name, command in commands(tmp_path, "W3", 7, 2).items():
        options = ["--workload", "W3", "--rounds", "7", "--users", "2"]
        at = command.index("--workload")
        assert command[at : at + len(options)] == options, name


def test_others_take_the_equations_as_they_stand_beside_fedprobes_w1(tmp_path: Path) -> None:
    make_environments(tmp_path, PEERS)
    found = commands(tmp_path, W1_PLAIN, 7, None)
    named = {name: command[command.index("--workload") + 1] for name, command in found.items()}
    assert named.pop("fedprobe") == "W1"
    assert set(named) == {BARE, "pfl", "flower", "flsim"} and set(named.values()) == {W1_PLAIN}


@pytest.mark.parametrize("name", PEERS)
def test_what_a_peer_is_said_to_run_is_there(name: str) -> None:
    peer = PEERS[name]
    script = peer.command[-1]
    assert (Path(script) if script.endswith(".py") else ROOT / f"{script.replace('.', '/')}.py").is_file()
    assert set(peer.workloads) <= set(WORKLOADS)
    assert bool(peer.lacking) == (set(peer.workloads) != set(WORKLOADS))
    assert peer.packages[0] == ["torch==2.13.0"]
    assert all("==" in package for packages in peer.packages for package in packages if not package.startswith("-"))


def test_a_program_that_ends_early_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such thing')"]
    with (
        Program(command, dict(os.environ), tmp_path / "errors") as program,
        pytest.raises(TurnError, match="its rounds did: no such thing"),
    ):
        program.round(60)


@pytest.mark.parametrize("name", plain.NETWORKS)
def test_a_copy_of_a_network_trains_itself(name: str) -> None:
    """FLSim's devices train copies."""
    network = plain.NETWORKS[name]()
    copied = copy.deepcopy(network)
    copied.loss(*(part[:2] for part in plain.user_data(name, 0))).backward()
    assert all(parameter.grad is not None for parameter in copied.parameters())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("name", ["W1", W1_PLAIN])
def test_peers_gradients_are_torchs_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifg, "_Layer", None)
    plain.NETWORKS[name]().loss(*(part[:2] for part in plain.user_data(name, 0))).backward()


@pytest.mark.parametrize("name", ["W1", W1_PLAIN])
def test_peers_train_the_same_character_model(name: str) -> None:
    torch.manual_seed(0)
    theirs = plain.NETWORKS[name]().double()
    ours = LanguageConfig(258, 128, 256, 128, 3, peepholes=False, tied=False).build().double()
    ours.load_state_dict(theirs.state_dict())
    symbols, targets = torch.randint(0, 258, (2, 3, 4))
    losses = [model.loss(symbols, targets) for model in (ours, theirs)]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
    gradients = [
        torch.autograd.grad(loss, list(model.parameters())) for loss, model in zip(losses, (ours, theirs), strict=True)
    ]
    for mine, its in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-9, atol=1e-12)


def test_peers_train_the_same_critic() -> None:
    torch.manual_seed(0)
    network = plain.NETWORKS["W2"]().double()
    network.generator.double()
    real = torch.rand(2, 1, 28, 28, dtype=torch.float64) * 2 - 1
    latents, mix = torch.randn(2, 128, dtype=torch.float64), torch.rand(2, 1, 1, 1, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", lambda *shape: latents)
        patch.setattr(torch, "rand", lambda *shape: mix)
        loss = network.loss(real)
    with torch.no_grad():
        fake = network.generator(latents)
    decay = plain.CRITIC_WEIGHT_DECAY / 2 * sum(weight.square().sum() for weight in network.critic.penalised())
    torch.testing.assert_close(loss + decay, critic_loss(network.critic, real, fake, mix, 10.0), rtol=1e-9, atol=1e-12)


def test_the_classifier_with_channels_last_is_the_same_network() -> None:
    torch.manual_seed(0)
    theirs, ours = LeafCnn().double().eval(), ChannelsLastCnn().double().eval()
    weights = theirs.state_dict()
    # From channel by channel to place by place.
    dense = weights["head.0.weight"].unflatten(1, (64, 12, 12)).permute(0, 2, 3, 1).flatten(1)
    ours.load_state_dict(weights | {"head.0.weight": dense})
    images, labels = torch.rand(3, 1, 28, 28, dtype=torch.float64), torch.tensor([0, 5, 61])
    losses = [torch.nn.functional.cross_entropy(model(images), labels) for model in (ours, theirs)]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=0)
    mine, its = (
        torch.autograd.grad(loss, model.first.weight)[0] for loss, model in zip(losses, (ours, theirs), strict=True)
    )
    torch.testing.assert_close(mine, its, rtol=1e-9, atol=1e-12)


def test_a_thread_that_ends_while_processes_are_listed_hides_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not found is not stopped, and does rounds while others have their turn."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as child:
        try:
            read, files = Path.read_text, []

            def reading(path: Path) -> str:
                files.append(path)
                if len(files) == 1:
                    raise FileNotFoundError
                return read(path)

            glob = Path.glob
            monkeypatch.setattr(Path, "read_text", reading)
            monkeypatch.setattr(Path, "glob", lambda path, pattern: [path / "task/0/children", *glob(path, pattern)])
            found = _tree(os.getpid())
        finally:
            child.kill()
    assert {os.getpid(), child.pid} <= set(found)
