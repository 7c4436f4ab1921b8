"""A network together with what is needed to use it without this project's pipelines."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unlabeled.arrays import replace_file
from unlabeled.augment import normalise
from unlabeled.counts import counted
from unlabeled.decode import decode
from unlabeled.errors import DataError
from unlabeled.intact import DIGEST, digest_of_weights
from unlabeled.networks import build_encoder, rebuild, spec_of
from unlabeled.walk import read_file

LARGEST_SIZE, MOST_CHANNELS = 4096, 1024
"""Pixels a side, and channels, of the images of an encoder that is read from a file."""
MADE = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.eye, torch.arange}
"""What networks are made of."""
SPARE = 2**24
"""Numbers that a network may have beside its weights."""
LARGEST_SPEC = 2**26
"""Bytes of an encoder's .json, in which a tokenizer may be."""


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


class Saved:
    """An encoder of any kind of data that is kept as two files."""

    network: nn.Module

    def spec(self) -> dict[str, Any]:
        """What `of` needs, as JSON values; its `kind` is among KINDS."""
        raise NotImplementedError

    @classmethod
    def of(cls, spec: dict[str, Any]) -> "Saved":
        """The same encoder with weights drawn anew."""
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Writes `<path>` (safetensors, the network's own keys) and `<path>` with the ending `.json`, its `spec` and a
        digest of both."""
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        text = json.dumps({**self.spec(), DIGEST: _digest(self)}, indent=2) + "\n"
        replace_file(path, lambda partial: save_file(weights, partial))
        replace_file(path.with_suffix(".json"), lambda partial: partial.write_text(text))


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
        self.network.normalisation = normalisation

    @property
    def feature_dim(self) -> int:
        return self.network.feature_dim

    @property
    def batch_size(self) -> int:
        """Images that its device takes at a time: a CPU's caches hold what it makes of few (benchmarks/embed.py)."""
        return 64 if next(self.network.parameters()).device.type == "cpu" else 256

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
        return in_batches(self.network, as_images(images, self.channels), self.prepare, size)

    def misfit(self, data: Any) -> str | None:
        """Why it cannot embed such data, in words that follow its name; None where it can."""
        if np.ndim(data) != 4:
            return "is of images, and today's data are none"
        if self.channels != data.shape[1]:
            return f"is of images with {counted(self.channels, 'channels')}, and today's have {data.shape[1]}"
        return None

    def prepare(self, images: np.ndarray) -> Tensor:
        """Input of the network: uint8 images as normalised float32 of its size, channels_last, on its device."""
        device = next(self.network.parameters()).device
        batch = torch.from_numpy(fit(images, self.channels, self.image_size)).to(device).float() / 255
        return normalise(batch, *self.normalisation.tensors(device))

    def spec(self) -> dict[str, Any]:
        return {
            **spec_of(self.architecture, self.network),
            "channels": self.channels,
            "image_size": self.image_size,
            "feature_dim": self.feature_dim,
            **asdict(self.normalisation),
        }

    @classmethod
    def of(cls, spec: dict[str, Any]) -> "ImageEncoder":
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
    pictures = (image[0] if len(image) == 1 else image.transpose(1, 2, 0) for image in images)
    return np.stack([decode(np.ascontiguousarray(picture), size, channels).pixels for picture in pictures])


@torch.no_grad()
def in_batches(
    network: nn.Module, data: np.ndarray, prepare: Callable[[np.ndarray], Tensor], batch_size: int
) -> np.ndarray:
    """Features of N rows of data, float32 (N, D), in eval mode; `prepare` makes what the network eats of some rows."""
    was_training = network.training
    network.eval()
    features = np.empty((len(data), network.feature_dim), np.float32)
    for start in range(0, len(data), batch_size):
        rows = slice(start, start + batch_size)
        features[rows] = network(prepare(data[rows])).cpu().numpy()
    network.train(was_training)
    return features


KINDS = {
    "image": "unlabeled.encoders:ImageEncoder",
    "text": "unlabeled.text.encoder:TextEncoder",
    "pair": "unlabeled.pairs.towers:PairEncoder",
    "frames": "unlabeled.video.encoders:FramesEncoder",
    "sound": "unlabeled.video.encoders:SoundEncoder",
}
"""By the `kind` in an encoder's .json; without one it is of images."""


def encoder_of(spec: dict[str, Any]) -> Any:
    """An encoder of whatever kind, with weights drawn anew."""
    module, _, name = KINDS[spec.get("kind", "image")].partition(":")
    return getattr(import_module(module), name).of(spec)


def untrained(encoder: Saved, seed: int) -> Any:
    """The same encoder with weights drawn anew, on the same device, in eval mode."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        fresh = encoder_of(encoder.spec())
    fresh.network.to(next(encoder.network.parameters()).device).eval()
    return fresh


def weights_digest(encoder: Saved) -> str:
    """Digest of all weights, 16 hexadecimal digits: what records of trainings and versions say of an encoder."""
    return digest_of_weights({name: tensor.cpu().numpy() for name, tensor in encoder.network.state_dict().items()})


def _digest(encoder: Saved) -> str:
    spec = json.dumps(encoder.spec(), sort_keys=True)
    return hashlib.sha256(f"{spec} {weights_digest(encoder)}".encode()).hexdigest()[:16]


class _Bounded(TorchFunctionMode):
    """Raises ValueError within its block where networks are made of more numbers than `most`, before there is memory
    for them."""

    def __init__(self, most: int):
        super().__init__()
        self.most = self.left = most

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if function in MADE:
            shape = args[0] if args and isinstance(args[0], list | tuple) else args
            self.left -= math.prod(shape) ** (2 if function is torch.eye else 1)
            if self.left < 0:
                raise ValueError(f"a network of more than the {self.most:,} numbers that its weights may have")
        return function(*args, **(kwargs or {}))


def read_encoder(path: Path) -> Any:
    """The encoder in `<path>` and its .json, of whatever kind.

    Raises:
        DataError: The files are missing, damaged or of different networks.
    """
    path = Path(path)
    try:
        spec = json.loads(read_file(path.with_suffix(".json"), LARGEST_SPEC))
        with _Bounded(path.stat().st_size + SPARE):  # of a byte each at least
            encoder = encoder_of(spec)
        encoder.network.load_state_dict(load_file(path), strict=True)
        if spec.get(DIGEST) not in (None, _digest(encoder)):  # None: by an earlier release
            raise ValueError("their digest is another than when they were saved")
    except Exception as error:  # safetensors and tokenizers raise their own kinds, json and torch theirs
        raise DataError(f"{path} and its .json are not a saved encoder ({error!s:.300}): train it again") from error
    encoder.network.to(memory_format=torch.channels_last).eval()
    return encoder


def load_encoder(folder: str | Path) -> Any:
    """The encoder that a run left in `data/06_models/<method>`; its `embed` turns uint8 images, or texts, into
    features."""
    return read_encoder(Path(folder) / "encoder.safetensors")
