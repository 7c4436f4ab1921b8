"""Preparation of images for a network: the range of their values, their shape, and the normalisation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel in [0, 1], without the test images; and how files became
    pixels.

    Attributes:
        pixel_range: The values that were scaled to 0 and 1 in images of more than 8 bits; None: as their format states.
        resize: How images that are not square became squares: `crop`, `pad` or `squash`.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    pixel_range: tuple[float, float] | None = None
    resize: str = "crop"

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Normalisation":
        """Reads the normalisation from an ingestion's summary or an encoder's `spec`."""
        pixel_range, (mean, std) = said.get("pixel_range"), (np.asarray(said[key], float) for key in ("mean", "std"))
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise ValueError(f"received mean {said['mean']} and std {said['std']}, expected numbers, and std above 0")
        pixel_range = tuple(pixel_range) if pixel_range else None
        return cls(tuple(said["mean"]), tuple(said["std"]), pixel_range, said.get("resize", "crop"))

    def tensors(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Mean and standard deviation as float32, on the device."""
        mean, std = torch.tensor([self.mean, self.std], dtype=torch.float32, device=device)
        return mean, std
