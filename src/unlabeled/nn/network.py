"""Attributes that every network of an encoder has."""

from collections.abc import Callable

from torch import Tensor, nn

from unlabeled.nn.normalisation import Normalisation


class Network(nn.Module):
    """A network from data of any kind to features, (B, D) float."""

    feature_dim: int
    """Dimensions of a feature vector (D)."""


class ImageNetwork(Network):
    """A network from images to features: (B, C, H, W) float to (B, D) float."""

    channels: int
    """Channels of the images (C)."""
    image_size: int
    """Side of the images that it is made for, in pixels."""
    normalisation: Normalisation
    """Normalisation of the images that it is trained on; absent for spectrograms."""
    feature_map: Callable[[Tensor], Tensor]
    """Feature map from (B, C, H, W) to (B, D, h, w); absent in `linear` and `patches`. Its mean over h and w is the
    feature vector, unless timm's model pools otherwise."""
    tokens: Callable[..., Tensor]
    """The last tokens (B, T, D) of an image's patches, by `ViT.tokens`; absent in all but plain vision transformers."""
    patch_size: int
    """Side of a patch in pixels; absent or 1 in networks without patches."""
