"""The encoder of images: a network with the image size and the normalisation that it was trained with."""

from dataclasses import asdict
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from unlabeled.encoders import Saved
from unlabeled.errors import DataError
from unlabeled.images.augment import normalise
from unlabeled.images.decode import SQUARES
from unlabeled.images.pixels import PixelFormat, read_pixels
from unlabeled.nn.network import ImageNetwork
from unlabeled.nn.normalisation import Normalisation
from unlabeled.nn.small_networks import build_encoder, rebuild, spec_of
from unlabeled.runtime.counts import counted

LARGEST_SIZE, MOST_CHANNELS = 4096, 1024
"""Largest side in pixels, and largest number of channels, of the images of an encoder that is read from a file."""


class ImageEncoder(Saved):
    """A trained network together with the image size and the normalisation that it was trained with."""

    network: ImageNetwork

    def __init__(
        self,
        architecture: str,
        channels: int,
        image_size: int,
        normalisation: Normalisation,
        network: ImageNetwork | None = None,
    ):
        self.architecture, self.channels, self.image_size = architecture, channels, image_size
        self.normalisation = normalisation
        self.network = network if network is not None else build_encoder(architecture, channels, image_size)
        vars(self.network)["normalisation"] = normalisation  # for methods whose loss is in pixels

    @property
    def pixel_format(self) -> PixelFormat:
        """The format that every image is converted to before it is embedded."""
        stored = self.normalisation
        return PixelFormat(self.image_size, self.channels, stored.pixel_range, stored.resize)

    @property
    def batch_size(self) -> int:
        """Images embedded at a time: on a CPU few, so that activations fit into its caches (benchmarks/embed.py)."""
        return 64 if self.device.type == "cpu" else 256

    def embed(self, images: np.ndarray, batch_size: int | None = None) -> np.ndarray:
        """Features of images without augmentation, with the network in eval mode and float32.

        Args:
            images: Whole numbers from 0 to 255, of shape (N, C, H, W). Images that are not square or not of the
                training's size are resized as the training's files were (`pixel_format`).
            batch_size: Images that go through the network at a time; None: what its device takes.

        Returns:
            float32 array of shape (N, D).

        Raises:
            DataError: The array has another shape, no pixels, or values that are not whole numbers from 0 to 255.
        """
        size = self.batch_size if batch_size is None else batch_size
        return self.in_batches(as_images(images, self.channels), self.prepare, size)

    def misfit(self, data: Any) -> str | None:
        """The reason why the encoder cannot embed these data, in words that follow its name; None where it can."""
        if np.ndim(data) != 4:
            return "is of images, and today's data are none"
        if self.channels != data.shape[1]:
            return f"is of images with {counted(self.channels, 'channels')}, and today's have {data.shape[1]}"
        return None

    def prepare(self, images: np.ndarray) -> Tensor:
        """The network's input: uint8 images as normalised float32 of its size, channels_last, on its device."""
        batch = torch.from_numpy(fit(images, self.pixel_format)).to(self.device).float() / 255
        return normalise(batch, *self.normalisation.tensors(self.device))

    def spec(self) -> dict[str, Any]:
        stored = asdict(self.normalisation)
        if stored["resize"] == "crop":  # absent from encoders of earlier releases, whose digest is of the whole spec
            del stored["resize"]
        return {
            **spec_of(self.architecture, self.network),
            "channels": self.channels,
            "image_size": self.image_size,
            "feature_dim": self.feature_dim,
            **stored,
        }

    @classmethod
    def of(cls, spec: dict[str, Any]) -> Self:
        normalisation = Normalisation.of(spec)
        shape = spec["channels"], spec["image_size"]
        for key, value, most in zip(("channels", "image_size"), shape, (MOST_CHANNELS, LARGEST_SIZE), strict=True):
            if not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(f"{key}: received {value!r}, expected a whole number from 1 to {most}")
        if normalisation.resize not in SQUARES:
            raise ValueError(f"resize: received {normalisation.resize!r}, expected {', '.join(SQUARES)}")
        if len(normalisation.mean) != shape[0]:
            raise ValueError(f"mean: received {list(normalisation.mean)}, expected a number for each channel")
        return cls(spec["architecture"], *shape, normalisation, rebuild(spec, *shape))


def as_images(data: np.ndarray, channels: int) -> np.ndarray:
    """Converts an array of images to uint8 (N, C, H, W).

    Raises:
        DataError: The array has another shape, no pixels, or values that are not whole numbers from 0 to 255. Floats
            from 0 to 1 are refused as well: as whole numbers they would be black.
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


def fit(images: np.ndarray, pixel_format: PixelFormat) -> np.ndarray:
    """Converts arrays to a format as `decode` does files.

    Args:
        images: uint8 (N, C, H, W), C is 1 or 3; any C where nothing has to be changed.

    Returns:
        uint8 (N, C, size, size) of the format's channels and size.
    """
    if images.shape[1:] == pixel_format.shape:
        return np.array(images)  # in memory, and writable: torch warns of arrays that are not
    pictures = (image[0] if len(image) == 1 else image.transpose(1, 2, 0) for image in images)
    return np.stack([read_pixels(np.ascontiguousarray(picture), pixel_format).pixels for picture in pictures])
