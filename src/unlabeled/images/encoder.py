"""An encoder of images: a network with the size and the normalisation that it was trained with."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from unlabeled.encoders import Saved
from unlabeled.errors import DataError
from unlabeled.images.augment import normalise
from unlabeled.images.pixels import PixelFormat, read_pixels
from unlabeled.nn.small_networks import build_encoder, rebuild, spec_of
from unlabeled.runtime.counts import counted

LARGEST_SIZE, MOST_CHANNELS = 4096, 1024
"""Pixels a side, and channels, of the images of an encoder that is read from a file."""


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, of the images that are not test images, in [0, 1]; and the
    numbers that were scaled to 0 and 1 in those of more than 8 bits (None: as their format states)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    pixel_range: tuple[float, float] | None = None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Normalisation":
        """From an ingestion's summary, or an encoder's `spec`."""
        pixel_range, (mean, std) = said.get("pixel_range"), (np.asarray(said[key], float) for key in ("mean", "std"))
        if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise ValueError(f"received mean {said['mean']} and std {said['std']}, expected numbers, and std above 0")
        return cls(tuple(said["mean"]), tuple(said["std"]), tuple(pixel_range) if pixel_range else None)

    def tensors(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Both as float32, on the device."""
        mean, std = torch.tensor([self.mean, self.std], dtype=torch.float32, device=device)
        return mean, std


class ImageEncoder(Saved):
    """A trained network together with the size and the normalisation that it was trained with."""

    def __init__(
        self,
        architecture: str,
        channels: int,
        image_size: int,
        normalisation: Normalisation,
        network: nn.Module | None = None,
    ):
        self.architecture, self.channels, self.image_size = architecture, channels, image_size
        self.normalisation = normalisation
        self.network = network if network is not None else build_encoder(architecture, channels, image_size)
        vars(self.network)["normalisation"] = normalisation  # for methods whose loss is in pixels

    @property
    def pixel_format(self) -> PixelFormat:
        """What every image is made before it is embedded."""
        return PixelFormat(self.image_size, self.channels, self.normalisation.pixel_range)

    @property
    def batch_size(self) -> int:
        """Images that its device takes at a time: a CPU's caches hold what it makes of few (benchmarks/embed.py)."""
        return 64 if self.device.type == "cpu" else 256

    def embed(self, images: np.ndarray, batch_size: int | None = None) -> np.ndarray:
        """Features of un-augmented images, with the network in eval mode and float32.

        Args:
            images: Whole numbers from 0 to 255, of shape (N, C, H, W). Of images that are not square or of another size
                than the training's, the centre square is resized, as ingestion does with a file.
            batch_size: Images that go through the network at a time; None: what its device takes.

        Returns:
            float32 array of shape (N, D).

        Raises:
            DataError: The array has another shape, no pixels, or values that are not whole numbers from 0 to 255.
        """
        size = self.batch_size if batch_size is None else batch_size
        return self.in_batches(as_images(images, self.channels), self.prepare, size)

    def misfit(self, data: Any) -> str | None:
        """Why it cannot embed such data, in words that follow its name; None where it can."""
        if np.ndim(data) != 4:
            return "is of images, and today's data are none"
        if self.channels != data.shape[1]:
            return f"is of images with {counted(self.channels, 'channels')}, and today's have {data.shape[1]}"
        return None

    def prepare(self, images: np.ndarray) -> Tensor:
        """Input of the network: uint8 images as normalised float32 of its size, channels_last, on its device."""
        batch = torch.from_numpy(fit(images, self.channels, self.image_size)).to(self.device).float() / 255
        return normalise(batch, *self.normalisation.tensors(self.device))

    def spec(self) -> dict[str, Any]:
        return {
            **spec_of(self.architecture, self.network),
            "channels": self.channels,
            "image_size": self.image_size,
            "feature_dim": self.feature_dim,
            **asdict(self.normalisation),
        }

    @classmethod
    def of(cls, spec: dict[str, Any]) -> Self:
        normalisation = Normalisation.of(spec)
        shape = spec["channels"], spec["image_size"]
        for key, value, most in zip(("channels", "image_size"), shape, (MOST_CHANNELS, LARGEST_SIZE), strict=True):
            if not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(f"{key}: received {value!r}, expected a whole number from 1 to {most}")
        if len(normalisation.mean) != shape[0]:
            raise ValueError(f"mean: received {list(normalisation.mean)}, expected a number for each channel")
        return cls(spec["architecture"], *shape, normalisation, rebuild(spec, *shape))


def as_images(data: np.ndarray, channels: int) -> np.ndarray:
    """An array of images as uint8 (N, C, H, W).

    Raises:
        DataError: The array has another shape, no pixels, or values that are not whole numbers from 0 to 255. Floats of
            0 to 1 are refused as well: as whole numbers they would be black.
    """
    expected = f"expected uint8 of (N, {channels}, H, W)"
    if data.ndim != 4 or data.shape[1] != channels or not (data.shape[2] and data.shape[3]):
        raise DataError(f"received images of {data.dtype} with shape {data.shape}, {expected}")
    if data.dtype == np.uint8:
        return data
    if data.dtype.kind not in "iuf":
        raise DataError(f"received images of {data.dtype}, {expected}")
    if not data.size:
        return data.astype(np.uint8)
    low, high = data.min(), data.max()
    if not (low >= 0 and high <= 255):  # NaN is neither
        raise DataError(f"received images with values from {low:g} to {high:g}, {expected}: from 0 to 255")
    if data.dtype.kind == "f" and (high <= 1 or (data != np.floor(data)).any()):
        advice = "multiply images of 0 to 1 by 255, and round them"
        raise DataError(f"received images with fractions, from {low:g} to {high:g}, {expected}: {advice}")
    return data.astype(np.uint8)


def fit(images: np.ndarray, channels: int, size: int) -> np.ndarray:
    """Images made of arrays as `decode` makes them of files: the centre square, resized.

    Args:
        images: uint8 (N, C, H, W), C is 1 or 3; any C where nothing has to be changed.

    Returns:
        uint8 (N, channels, size, size).
    """
    if images.shape[1:] == (channels, size, size):
        return np.array(images)  # in memory, and writable: torch warns of arrays that are not
    made = PixelFormat(size, channels)
    pictures = (image[0] if len(image) == 1 else image.transpose(1, 2, 0) for image in images)
    return np.stack([read_pixels(np.ascontiguousarray(picture), made).pixels for picture in pictures])
