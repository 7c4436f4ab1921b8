"""Networks from an image to a feature vector, and what is needed to use one without this project's pipelines."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.arrays import replace_file
from unlabeled.augment import normalise, resample
from unlabeled.errors import DataError

HALVED_FROM = 32
"""Pixels a side from which the small ResNet halves its input at once."""
SMALL_STEM_BELOW = 64
"""Pixels a side under which a ResNet starts with a 3×3 convolution and no pooling, as is usual on CIFAR."""


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut (arXiv:1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


class SmallResNet(nn.Sequential):
    """A ResNet of three blocks for images of 8 to 64 pixels: (B, C, H, W) float to (B, 4 · width) float.

    Its first convolution halves images of 32 pixels and more: a CPU has a quarter of the pixels to convolve there.

    Args:
        width: Channels of the first block; None: 64 below 32 pixels, where channels are cheap, else 48.
    """

    def __init__(self, channels: int, image_size: int, width: int | None = None):
        width = width or (64 if image_size < HALVED_FROM else 48)
        super().__init__(
            nn.Conv2d(channels, width, 3, stride=2 if image_size >= HALVED_FROM else 1, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            Block(width, width, 1),
            Block(width, 2 * width, 2),
            Block(2 * width, 4 * width, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.feature_dim = 4 * width


def torchvision_resnet(architecture: str, channels: int, image_size: int) -> nn.Module:
    """torchvision's own ResNet without its classifier, so that its weights load into torchvision's model unchanged."""
    from torchvision import models  # seconds to import, and not needed by the default

    network = models.get_model(architecture, weights=None)
    small = image_size < SMALL_STEM_BELOW
    if small:
        network.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        network.maxpool = nn.Identity()
    elif channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    network.feature_dim = network.fc.in_features
    network.fc = nn.Identity()
    return network


def build_encoder(architecture: str, channels: int, image_size: int) -> nn.Module:
    """An encoder with random weights: (B, C, H, W) float to (B, D) float, D in its attribute `feature_dim`.

    Args:
        architecture: One of {small_resnet, resnet18, resnet34, resnet50}.
    """
    if architecture == "small_resnet":
        return SmallResNet(channels, image_size)
    return torchvision_resnet(architecture, channels, image_size)


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, of the training images scaled to [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def tensors(self, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Both as float32, on the device."""
        mean, std = torch.tensor([self.mean, self.std], dtype=torch.float32, device=device)
        return mean, std


class ImageEncoder:
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

    @property
    def feature_dim(self) -> int:
        return self.network.feature_dim

    @torch.no_grad()
    def embed(self, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Features of un-augmented images, with the network in eval mode and float32.

        Args:
            images: uint8 of shape (N, C, H, W); another size than the training's is resampled to it.

        Returns:
            float32 array of shape (N, D).

        Raises:
            DataError: The array has another type, number of dimensions or of channels.
        """
        if images.ndim != 4 or images.dtype != np.uint8 or images.shape[1] != self.channels:
            expected = f"expected uint8 of (N, {self.channels}, H, W)"
            raise DataError(f"received images of {images.dtype} with shape {images.shape}, {expected}")
        device = next(self.network.parameters()).device
        mean, std = self.normalisation.tensors(device)
        was_training = self.network.training
        self.network.eval()
        features = np.empty((len(images), self.feature_dim), np.float32)
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(np.array(images[start : start + batch_size])).to(device).float() / 255
            if batch.shape[-2:] != (self.image_size, self.image_size):
                whole = torch.tensor([0.0, 0.0, *batch.shape[-2:]], device=device).expand(len(batch), 1, 4)
                batch = resample(batch, whole, self.image_size).squeeze(1)
            features[start : start + batch_size] = self.network(normalise(batch, mean, std)).cpu().numpy()
        self.network.train(was_training)
        return features

    def save(self, path: Path) -> None:
        """Writes `<path>` (safetensors, the architecture's own keys) and `<path>` with the ending `.json`."""
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        spec = {
            "architecture": self.architecture,
            "channels": self.channels,
            "image_size": self.image_size,
            "feature_dim": self.feature_dim,
            **asdict(self.normalisation),
        }
        replace_file(path, lambda partial: save_file(weights, partial))
        replace_file(path.with_suffix(".json"), lambda partial: partial.write_text(json.dumps(spec, indent=2) + "\n"))

    @classmethod
    def load(cls, path: Path) -> "ImageEncoder":
        """Reads what `save` wrote. Raises DataError where the files are missing, damaged or of different networks."""
        path = Path(path)
        try:
            spec = json.loads(path.with_suffix(".json").read_text())
            normalisation = Normalisation(tuple(spec["mean"]), tuple(spec["std"]))
            encoder = cls(spec["architecture"], spec["channels"], spec["image_size"], normalisation)
            encoder.network.load_state_dict(load_file(path), strict=True)
        except Exception as error:  # safetensors raises its own kinds, json and torch theirs
            raise DataError(f"{path} and its .json are not a saved encoder ({error}): train it again") from error
        encoder.network.to(memory_format=torch.channels_last).eval()
        return encoder


def load_encoder(folder: str | Path) -> ImageEncoder:
    """The encoder that a run left in `data/06_models/<method>`; its `embed` turns uint8 images into features."""
    return ImageEncoder.load(Path(folder) / "encoder.safetensors")
