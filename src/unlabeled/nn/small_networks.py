"""Networks from images to feature vectors without torchvision: the small ResNet, and those of PCA and k-means."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.catalogue import NETWORKS
from unlabeled.nn.network import ImageNetwork

HALVED_FROM = 32
"""Image side, in pixels, from which the small ResNet's first convolution halves its input."""
WIDTHS = (32, 64, 256), (48, 96, 192)
"""Channels of the small ResNet's blocks: for images below `HALVED_FROM` pixels, where the large map allows few, and
from there on."""
EARLIER_WIDTHS = (64, 128, 256), (48, 96, 192)
"""Channels of encoders that were saved without their widths."""


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A square convolution with an odd kernel, padded by half of it, without bias."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut (arXiv:1512.03385)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, 3)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


class SmallResNet(ImageNetwork, nn.Sequential):
    """A ResNet of three blocks for images of 8 to 64 pixels: (B, C, H, W) float to (B, D) float.

    Its first convolution halves the side of images of 32 pixels and more, which leaves a quarter of the pixels.

    Args:
        widths: Channels of each block; the last is D. None: the default for this image size, in `WIDTHS`.
    """

    def __init__(self, channels: int, image_size: int, widths: tuple[int, int, int] | None = None):
        is_halved = image_size >= HALVED_FROM
        widths = first, second, third = widths or WIDTHS[is_halved]
        super().__init__(
            convolution(channels, first, 3, 2 if is_halved else 1),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            Block(first, first, 1),
            Block(first, second, 2),
            Block(second, third, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.feature_dim, self.widths = third, widths

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, D, h, w), whose mean over h and w is the feature vector."""
        for layer in list(self)[:-2]:  # slicing the module itself would call its constructor
            images = layer(images)
        return images

    def group_matcher(self, coarse: bool) -> dict[str, Any]:
        return {"stem": r"^[01]\.", "blocks": r"^(\d+)\."}


class LinearNetwork(ImageNetwork, nn.Sequential):
    """A linear map of an image's pixels: (B, C, H, W) to (B, min(128, C·H·W))."""

    def __init__(self, channels: int, image_size: int):
        pixels = channels * image_size**2
        dim = min(128, pixels)
        super().__init__(nn.Flatten(), nn.Linear(pixels, dim))
        self.feature_dim = dim


class PatchNetwork(ImageNetwork):
    """Closeness of an image's patches to each of K centroids, pooled over its quarters: (B, C, H, W) to (B, 4K).

    One layer of features as in Coates et al. 2011 ("An Analysis of Single-Layer Networks in Unsupervised Feature
    Learning", sections 3.1 and 3.2): patches are normalised in contrast and whitened, and feature k of a patch is
    max(0, μ − d_k), the triangle activation, with d_k its distance to centroid k and μ the mean of these distances.
    """

    def __init__(self, channels: int, image_size: int, centroids: int = 256):
        super().__init__()
        self.patch = max(2, min(6, image_size // 2))
        self.stride = max(1, image_size // 32)
        dims = channels * self.patch**2
        self.mean = nn.Parameter(torch.zeros(dims), requires_grad=False)
        self.whitening = nn.Parameter(torch.eye(dims), requires_grad=False)
        self.centroids = nn.Parameter(torch.randn(centroids, dims), requires_grad=False)
        self.feature_dim = 4 * centroids

    def forward(self, images: Tensor) -> Tensor:
        patches = (self.patches(images) - self.mean) @ self.whitening
        centroids = self.centroids.expand(patches.shape[0], -1, -1)  # not len(), for exports
        distances = torch.cdist(patches, centroids)
        near = F.relu(distances.mean(2, keepdim=True) - distances).transpose(1, 2)
        side = (images.shape[-1] - self.patch) // self.stride + 1
        return F.adaptive_avg_pool2d(near.unflatten(2, (-1, side)), 2).flatten(1)

    def patches(self, images: Tensor) -> Tensor:
        """All patches of images (B, C, H, W), each standardised: (B, L, C · patch²)."""
        patches = F.unfold(images, self.patch, stride=self.stride).transpose(1, 2)
        patches = patches - patches.mean(2, keepdim=True)
        return patches / (patches.var(2, keepdim=True, correction=0) + 0.01).sqrt()


def random_rotation(dims: int, generator: torch.Generator | None = None) -> Tensor:
    """A random orthogonal matrix (dims, dims), float32, which preserves distances and spreads variance evenly.

    Without the rotation, standardising PCA components makes all of them equally large, including noise (Gong and
    Lazebnik 2011, "Iterative Quantization", there PCA-RR).
    """
    return nn.init.orthogonal_(torch.empty(dims, dims), generator=generator)


def build_encoder(
    architecture: str, channels: int, image_size: int, widths: tuple[int, int, int] | None = None
) -> ImageNetwork:
    """An encoder with random weights: (B, C, H, W) float to (B, D) float.

    Args:
        architecture: Value of `pretraining.encoder`.
        widths: Channels of the small ResNet's blocks; None: the default for this image size.

    Returns:
        A network with the attributes `feature_dim` (D), `channels` and `image_size`; all but `linear` and `patches`
        have a `feature_map` too.

    Raises:
        ValueError: There is no such architecture, or it does not fit images of this size.
    """
    small = {"linear": LinearNetwork, "patches": PatchNetwork}
    if architecture == "small_resnet":
        network: ImageNetwork = SmallResNet(channels, image_size, widths)
    elif architecture in small:
        network = small[architecture](channels, image_size)
    elif architecture not in NETWORKS:
        from unlabeled.nn.backbones import build_backbone  # seconds to import

        network = build_backbone(architecture, channels, image_size)
    else:
        from unlabeled.nn.torchvision_networks import (  # seconds to import, and not needed by the default
            VITS,
            ResNet,
            ViT,
        )

        network = (ViT if architecture in VITS else ResNet)(architecture, channels, image_size)
    network.channels, network.image_size = channels, image_size
    return network


def spec_of(architecture: str, network: ImageNetwork) -> dict[str, Any]:
    """Arguments with which `rebuild` makes the network again, as JSON values."""
    widths = {"widths": list(network.widths)} if isinstance(network, SmallResNet) else {}
    return {"architecture": architecture, **widths}


def rebuild(spec: dict[str, Any], channels: int, image_size: int) -> ImageNetwork:
    """The network of a spec, with random weights."""
    widths = spec.get("widths", EARLIER_WIDTHS[image_size >= HALVED_FROM])
    return build_encoder(spec["architecture"], channels, image_size, tuple(widths))
