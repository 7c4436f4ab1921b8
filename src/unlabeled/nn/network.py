"""Attributes that every network of an encoder has."""

from collections.abc import Callable
from typing import Any, Self

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
    frozen: tuple[str, ...] = ()
    """Names of the modules that stay in eval mode during training, so that their statistics stay as well."""

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def group_matcher(self, coarse: bool) -> dict[str, Any]:
        """Patterns of the parameters of the stem and of each later part, as timm's `group_parameters` takes them.

        Args:
            coarse: Whether a part is a stage; otherwise it is a layer.
        """
        raise ValueError("encoder: received a network without layers, which cannot be frozen or decayed by layer")

    def layers(self, coarse: bool = False) -> dict[str, int]:
        """The layer, or stage, of each parameter by its name, counted from 0, the stem."""
        from timm.models import group_parameters  # seconds to import

        return group_parameters(self, self.group_matcher(coarse), reverse=True)


def freeze(network: ImageNetwork, stages: int) -> None:
    """Keeps the weights and statistics of the first stages as they are, in all further training.

    Raises:
        ValueError: The network has no stage left to train.
    """
    layers = network.layers(coarse=True)
    count = max(layers.values()) + 1
    if stages >= count:
        raise ValueError(f"freeze: received {stages}, expected 0 to {count - 1}: the encoder has {count} stages")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and layers[name] >= stages)
    stage_of = {
        name: max(layers[f"{name}.{own}"] for own, _ in module.named_parameters())
        for name, module in network.named_modules()
        if name and any(True for _ in module.parameters())
    }
    network.frozen = tuple(name for name, stage in stage_of.items() if stage < stages)
