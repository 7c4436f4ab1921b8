"""The device of a training, and its support of bf16."""

import torch

from unlabeled.errors import TrainingError


def choose_device(name: str, key: str = "pretraining.device") -> torch.device:
    """The device of that name; `auto`: CUDA, else MPS, else the CPU. If it is missing, the TrainingError names
    `key`."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available[name]:
        raise TrainingError(f"{key}: received {name!r}, which this machine does not have; use auto or cpu")
    return torch.device(name)


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 is fast on a device rather than emulated."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
