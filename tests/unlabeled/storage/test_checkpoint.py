import math
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from unlabeled.config import Pretraining
from unlabeled.errors import TrainingError
from unlabeled.storage import checkpoint
from unlabeled.training.optimizers import build_optimizer

STATE = {
    "step": 7,
    "history": [{"epoch": 1, "loss": 0.1 + 0.2}],
    "weights": {"a.b": torch.arange(6.0).reshape(2, 3), "c": torch.tensor([True, False])},
}


def same(a, b):
    """Whether nested states are equal to the last bit, with the types of their tensors and keys."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and a.contiguous().equal(b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a and b != b)


def returned(tmp_path, state):
    checkpoint.save(tmp_path / "checkpoint.safetensors", state)
    return checkpoint.load(tmp_path / "checkpoint.safetensors")


@pytest.fixture
def path(tmp_path):
    checkpoint.save(tmp_path / "checkpoint.safetensors", STATE)
    return tmp_path / "checkpoint.safetensors"


@pytest.mark.parametrize(
    "value",
    [
        {"none": None, "yes": True, "count": 2**60, "tiny": 5e-324, "third": 1 / 3, "nan": math.nan, "π": "größer"},
        {"empty": {"dict": {}, "list": []}, "keys": {0: "number", "0": "text", "a.b": {"c": 1}, "a": {"b.c": 2}}},
        {"kinds": {"tensor": "not one", "value": {"list": [{"dict": 1}]}}},
    ],
    ids=["scalars", "keys", "words of its own"],
)
def test_nested_values_come_back_exactly(tmp_path, value):
    assert same(value, returned(tmp_path, value))


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4, 5)])
def test_tensors_of_every_type_and_shape_come_back_exactly(tmp_path, dtype, shape):
    tensor = (10 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).to(dtype)
    assert same({"x": [tensor]}, returned(tmp_path, {"x": [tensor]}))


def test_no_bit_of_an_odd_number_is_lost(tmp_path):
    odd = torch.tensor([math.nan, -math.inf, -0.0, 1e-45])
    loaded = returned(tmp_path, {"x": odd})["x"]
    assert torch.equal(loaded.view(torch.int32), odd.view(torch.int32))


def test_shared_strided_and_trained_tensors_are_saved_as_they_look(tmp_path):
    whole = torch.arange(24.0).reshape(1, 2, 3, 4)
    state = {
        "shared": [whole, whole, whole[0]],
        "strided": [whole[..., ::2], whole.transpose(1, 2), torch.ones(1).expand(5)],
        "channels last": whole.to(memory_format=torch.channels_last),
        "trained": nn.Parameter(whole),
    }
    loaded = returned(tmp_path, state)
    assert same({**state, "trained": whole}, loaded)
    assert not loaded["trained"].requires_grad


def test_tuples_come_back_as_lists(tmp_path):
    assert returned(tmp_path, {"betas": (0.9, (0.99,))}) == {"betas": [0.9, [0.99]]}


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_the_state_of_a_training_comes_back_exactly(tmp_path, name):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    optimizer = build_optimizer(model, Pretraining(optimizer=name))
    model(torch.rand(4, 1, 8, 8)).sum().backward()
    optimizer.step()
    state = {"method": dict(model.state_dict()), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}
    loaded = returned(tmp_path, state)
    assert same(state, loaded)
    build_optimizer(model, Pretraining(optimizer=name)).load_state_dict(loaded["optimizer"])


def test_what_is_neither_tensor_nor_json_is_refused(tmp_path):
    with pytest.raises(TypeError):
        checkpoint.save(tmp_path / "checkpoint.safetensors", {"x": np.zeros(3)})
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_one_file_without_pickle(path):
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.safetensors"]
    assert path.read_bytes()[8:9] == b"{"  # safetensors: the length of a JSON header, and the header


def test_a_file_cut_anywhere_is_told(path):
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(TrainingError, match=r"checkpoint .* is damaged \(.*\): delete it to train from the begin"):
            checkpoint.load(path)


def test_a_changed_byte_anywhere_is_told(path):
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(TrainingError, match="is damaged"):
            checkpoint.load(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"state": "{", "checksum": "0"}])
def test_a_foreign_safetensors_file_is_told(tmp_path, metadata):
    save_file({"weight": torch.ones(3)}, tmp_path / "foreign.safetensors", metadata=metadata)
    with pytest.raises(TrainingError, match=r"foreign.safetensors is damaged"):
        checkpoint.load(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize("content", [b"", b"\0", b"no checkpoint at all", bytes(10_000)])
def test_a_file_of_something_else_is_told(tmp_path, content):
    (tmp_path / "other.safetensors").write_bytes(content)
    with pytest.raises(TrainingError, match=r"other.safetensors is damaged"):
        checkpoint.load(tmp_path / "other.safetensors")


def test_an_interrupted_save_leaves_the_old_checkpoint(path, monkeypatch):
    def interrupted(tensors, partial, metadata):
        partial.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, {"step": 8})
    assert same(STATE, checkpoint.load(path))
    assert len(list(path.parent.iterdir())) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes to read-only folders too")
def test_a_read_only_folder_leaves_the_old_checkpoint(path):
    path.parent.chmod(0o500)
    try:
        with pytest.raises(OSError):
            checkpoint.save(path, {"step": 8})
    finally:
        path.parent.chmod(0o700)
    assert same(STATE, checkpoint.load(path))
