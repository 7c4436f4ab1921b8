"""Checkpoints: a training's whole state in one safetensors file, with tensors by name and everything else as JSON in
its header."""

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from unlabeled.errors import TrainingError
from unlabeled.storage.arrays import replace_file


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes nested dicts and lists of tensors and JSON values; the file is either complete or absent."""
    tensors: dict[str, Tensor] = {}
    skeleton = json.dumps(_take_tensors(state, "", tensors))
    storages = set()
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        if storage in storages:  # safetensors refuses shared storage
            tensors[name] = tensor.clone()
        storages.add(storage)
    header = {"state": skeleton, "checksum": str(_checksum(skeleton, tensors))}
    replace_file(path, lambda partial: save_file(tensors, partial, metadata=header))


def load(path: Path) -> dict[str, Any]:
    """Reads a file that `save` wrote, with tensors on the CPU. Raises TrainingError where the file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        if str(_checksum(header["state"], tensors)) != header["checksum"]:
            raise ValueError("its checksum does not fit its contents")
        return _put_tensors(json.loads(header["state"]), tensors)
    except Exception as error:  # safetensors raises its own kinds, json others
        raise TrainingError(
            f"the checkpoint {path} is damaged ({error}): delete it to train from the beginning"
        ) from error


def _take_tensors(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous()  # channels_last has to become dense
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[key, _take_tensors(item, f"{name}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_take_tensors(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]}
    return {"value": value}


def _put_tensors(node: Any, tensors: dict[str, Tensor]) -> Any:
    (kind, value), *_ = node.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {key: _put_tensors(item, tensors) for key, item in value}
    if kind == "list":
        return [_put_tensors(item, tensors) for item in value]
    return value


def _checksum(skeleton: str, tensors: dict[str, Tensor]) -> int:
    checksum = zlib.crc32(skeleton.encode())
    for name in sorted(tensors):
        checksum = zlib.crc32(f"{name} {tensors[name].dtype}".encode(), checksum)
        checksum = zlib.crc32(tensors[name].flatten().view(torch.uint8).numpy(), checksum)
    return checksum
