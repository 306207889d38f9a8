"""`fedprobe data pack`, and training on what it wrote."""

import torch
from safetensors.torch import load_file

from tests.cli.conftest import TINY


def test_training_on_packed_shards_is_the_same_bit_for_bit(fedprobe, copied):
    packed = fedprobe("data", "pack", "shards", "packed", "--json", "--no-progress")
    assert packed.code == 0, packed.err
    value = packed.json
    assert value["schema"] == "fedprobe.pack/1" and len(value["files"]) == len(list((copied / "shards").glob("*.h5")))
    told = fedprobe("data", "describe", "packed", "--check", "--json")
    assert told.code == 0, told.err
    assert told.json["users"] == value["users"] == fedprobe("data", "describe", "shards", "--json").json["users"]
    for shards in ("shards", "packed"):
        done = fedprobe("train-gan", shards, *TINY, "-o", f"runs/on-{shards}")
        assert done.code == 0, done.err
    ours, theirs = (
        load_file(copied / f"runs/on-{shards}/checkpoints/round_000003/tensors.safetensors")
        for shards in ("packed", "shards")
    )
    assert ours.keys() == theirs.keys() and ours
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_packing_tells_how_far_it_is_and_overwrites_nothing(fedprobe, copied):
    packed = fedprobe("data", "pack", "shards", "packed")
    assert packed.code == 0 and "packing" in packed.err and "users" in packed.out
    assert "next: give packed wherever you gave shards" in packed.err
    again = fedprobe("data", "pack", "shards", "packed", "--no-progress")
    assert again.code == 2 and "packed" in again.line
