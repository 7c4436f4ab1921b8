"""What the network of an encoder has beside its layers."""

from collections.abc import Callable

from torch import Tensor, nn

from unlabeled.nn.normalisation import Normalisation


class Network(nn.Module):
    """A network from data of any kind to features, (B, D) float."""

    feature_dim: int
    """D."""


class ImageNetwork(Network):
    """A network from images to features: (B, C, H, W) float to (B, D) float."""

    channels: int
    """C."""
    image_size: int
    """H and W of the images that it is made for."""
    normalisation: Normalisation
    """Of the images that it is trained on; spectrograms have none."""
    feature_map: Callable[[Tensor], Tensor]
    """(B, C, H, W) to (B, D, h, w), whose mean over h and w is the feature vector; all but `linear` and `patches`."""
