"""torchvision's ResNets and vision transformers without their classifiers, with the same keys of weights.

This module is separate from `small_networks` because torchvision takes seconds to import and the default does not need
it.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.resnet import ResNet as TorchvisionResNet
from torchvision.models.vision_transformer import EncoderBlock, VisionTransformer

from unlabeled.nn.attention import SelfAttention
from unlabeled.nn.network import ImageNetwork

SMALL_STEM_BELOW = 64
"""Image side, in pixels, below which a ResNet starts with a 3×3 convolution and no pooling, as is usual on CIFAR."""
RESNETS = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
}
VITS = {"small_vit": (192, 6, 3), "vit_tiny": (192, 12, 3), "vit_small": (384, 12, 6), "vit_base": (768, 12, 12)}
"""Width, depth and heads; `vit_base` is torchvision's vit_b_16 where patches have 16 pixels."""


class ResNet(ImageNetwork, TorchvisionResNet):
    """ResNets for images of any size, (B, C, H, W) to (B, D) (arXiv:1512.03385)."""

    def __init__(self, architecture: str, channels: int, image_size: int):
        block, layers = RESNETS[architecture]
        super().__init__(block, layers)
        if image_size < SMALL_STEM_BELOW:
            self.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
            self.maxpool = nn.Identity()
        elif channels != 3:
            self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.feature_dim, self.fc = 512 * block.expansion, nn.Identity()

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, D, h, w), whose mean over h and w is the feature vector."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def group_matcher(self, coarse: bool) -> dict[str, Any]:
        return {"stem": r"^conv1|^bn1", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}


class ViT(ImageNetwork, VisionTransformer):
    """Vision transformers, (B, C, H, W) to (B, D), the mean of the patches' last tokens (arXiv:2010.11929, 2205.01580).

    Unlike torchvision's, they take images of any size: positions are interpolated. The class token takes part in the
    attention and is not read.
    """

    def __init__(self, architecture: str, channels: int, image_size: int):
        width, depth, heads = VITS[architecture]
        patch = patch_size(image_size)
        super().__init__(image_size, patch, depth, heads, width, 4 * width)
        if channels != 3:
            self.conv_proj = nn.Conv2d(channels, width, patch, patch)
        _replace_attention(self.encoder.layers)
        self.heads = nn.Identity()
        self.feature_dim = width

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(x).mean(1)

    def feature_map(self, images: Tensor) -> Tensor:
        """Feature map (B, C, H, W) to (B, D, h, w), with one token for each patch; its mean is the feature vector."""
        side = images.shape[-1] // self.patch_size
        return self.tokens(images).transpose(1, 2).unflatten(2, (-1, side))

    def tokens(self, images: Tensor, kept: Tensor | None = None) -> Tensor:
        """The last tokens of an image's patches, row by row: (B, T, D).

        Args:
            kept: Indices of the patches that enter the network, int64 (B, T); None: all.
        """
        patches = self.conv_proj(images)
        positions = self._positions(*patches.shape[-2:])
        patches = patches.flatten(2).transpose(1, 2) + positions[:, 1:]
        if kept is not None:
            patches = patches.gather(1, kept[..., None].expand(-1, -1, self.hidden_dim))
        first = (self.class_token + positions[:, :1]).expand(patches.shape[0], -1, -1)  # not len(), for exports
        tokens = self.encoder.dropout(torch.cat([first, patches], 1))
        return self.encoder.ln(self.encoder.layers(tokens))[:, 1:]

    def group_matcher(self, coarse: bool) -> dict[str, Any]:
        stem, blocks = r"^class_token|^conv_proj|^encoder\.pos_embedding", r"^encoder\.layers\.encoder_layer_(\d+)"
        return {"stem": stem, "blocks": [(blocks, None), (r"^encoder\.ln", (99999,))]}

    def _positions(self, height: int, width: int) -> Tensor:
        table = self.encoder.pos_embedding
        side = math.isqrt(table.shape[1] - 1)
        if (height, width) == (side, side):
            return table
        grid = table[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        grid = F.interpolate(grid, (height, width), mode="bicubic", antialias=True)
        return torch.cat([table[:, :1], grid.flatten(2).transpose(1, 2)], 1)


def transformer_block(width: int, heads: int) -> EncoderBlock:
    """A block of torchvision's transformer with our attention."""
    block = EncoderBlock(heads, width, 4 * width, 0.0, 0.0)
    _replace_attention([block])
    return block


def _replace_attention(blocks: Iterable[nn.Module]) -> None:
    for block in blocks:
        for name, child in block.named_children():
            if isinstance(child, nn.MultiheadAttention):
                block.add_module(name, SelfAttention(child))


def patch_size(image_size: int) -> int:
    """Side of a ViT's patches in pixels: the divisor of the image's side, from 2 to 16, nearest to an eighth of it.

    Raises:
        ValueError: There is no such divisor.
    """
    divisors = [size for size in range(2, 17) if image_size % size == 0]
    if not divisors:
        raise ValueError(
            f"encoder: a ViT needs patches of 2 to 16 pixels, and none divides images of {image_size}: choose another "
            f"ingestion.image_size (or augmentation.crop_size)"
        )
    return min(divisors, key=lambda size: abs(size - image_size / 8))
