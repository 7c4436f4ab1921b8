"""timm's backbones without their classifiers, with timm's own keys of weights.

This module is separate from `small_networks` because timm takes seconds to import and the default does not need it.
"""

import inspect
import math
from difflib import get_close_matches
from typing import Any

import timm
import torch
from timm.models import ResNet, VisionTransformer, group_parameters
from torch import Tensor, nn

from unlabeled.catalogue import NETWORKS
from unlabeled.nn.network import ImageNetwork

SMALL_STEM_BELOW = 64
"""Image side, in pixels, below which a ResNet keeps the image's resolution in its stem, as is usual on CIFAR."""
FLEXIBLE = {"dynamic_img_size": True, "strict_img_size": False}
"""Arguments by which a model of timm takes images of other sizes than its own, where it knows the argument."""
MAX_SUGGESTED_NAMES = 3
WRAPPED = "model."
"""Prefix of the names of parameters, which the keys of saved weights lack."""


class Backbone(ImageNetwork):
    """A model of timm: (B, C, H, W) float to (B, D) float. Its weights have the model's keys, without a prefix.

    Args:
        patch_size: Side of a patch in pixels, where the model takes images of any size; pixels beyond the last whole
            patch are cut off. Otherwise 1.
    """

    def __init__(self, model: Any, patch_size: int = 1):
        super().__init__()
        self.model = model
        self.patch_size = patch_size
        self.feature_dim = getattr(model, "head_hidden_size", None) or model.num_features
        self.register_load_state_dict_pre_hook(_with_prefix)

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        return self.model.state_dict(*args, destination=destination, prefix=prefix, keep_vars=keep_vars)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(self._whole_patches(images))

    def feature_map(self, images: Tensor) -> Tensor:
        """Feature map (B, D, h, w) before timm's pooling, which decides whether its mean is the feature vector."""
        features = self.model.forward_features(self._whole_patches(images))
        if features.ndim == 4:
            return features.permute(0, 3, 1, 2) if getattr(self.model, "output_fmt", "") == "NHWC" else features
        patches = features[:, getattr(self.model, "num_prefix_tokens", 0) :].transpose(1, 2)
        return patches.unflatten(2, (math.isqrt(patches.shape[2]), -1))

    def layers(self, coarse: bool = False) -> dict[str, int]:
        found = group_parameters(self.model, self.model.group_matcher(coarse=coarse), reverse=True)
        return {f"{WRAPPED}{name}": layer for name, layer in found.items()}

    def _whole_patches(self, images: Tensor) -> Tensor:
        height, width = (side - side % self.patch_size for side in images.shape[-2:])
        return images[..., :height, :width]


class ViT(Backbone):
    """A plain vision transformer of timm (arXiv:2010.11929), with timm's pooling and interpolated positions."""

    def tokens(self, images: Tensor, kept: Tensor | None = None) -> Tensor:
        """The last tokens of an image's patches, row by row: (B, T, D).

        Args:
            kept: Indices of the patches that enter the network, int64 (B, T); None: all.
        """
        model = self.model
        tokens, first = model._pos_embed(model.patch_embed(self._whole_patches(images))), model.num_prefix_tokens
        if kept is not None:
            patches = tokens[:, first:].gather(1, kept[..., None].expand(-1, -1, tokens.shape[2]))
            tokens = torch.cat([tokens[:, :first], patches], 1)
        return model.norm(model.blocks(model.norm_pre(tokens)))[:, first:]


def build_backbone(name: str, channels: int, image_size: int) -> Backbone:
    """The model of timm with random weights.

    Raises:
        ValueError: timm has no model of this name, or it does not take images of this size or these channels.
    """
    check_name(name)
    sizes = _size_options(name, image_size)
    try:
        model: Any = timm.create_model(name, pretrained=False, num_classes=0, in_chans=channels, **sizes)
    except (AssertionError, RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
        raise ValueError(
            f"encoder: timm's {name} cannot be built for {channels} channels and {image_size} pixels ({error})"
        ) from error
    if isinstance(model, ResNet) and image_size < SMALL_STEM_BELOW:
        _keep_resolution(model, channels)
    patch = model.patch_embed.patch_size[0] if FLEXIBLE.keys() & sizes else 1
    if image_size % patch:
        raise ValueError(
            f"encoder: {name} needs patches of {patch} pixels, which do not divide images of {image_size}: choose a "
            f"multiple of {patch} as ingestion.image_size (or augmentation.crop_size)"
        )
    return (ViT if type(model) is VisionTransformer else Backbone)(model, patch)


def check_name(name: str) -> None:
    """Raises ValueError, with the closest names, where timm has no model of this name, or not with this tag."""
    if ":" not in name and "/" not in name and timm.is_model(name):
        architecture, _, tag = name.partition(".")
        if not tag or name in (known := timm.list_pretrained(f"{architecture}.*")):
            return
        raise ValueError(
            f"encoder: timm has no weights {tag!r} of {architecture}: choose from {', '.join(known) or 'none'}"
        )
    close = get_close_matches(name.lower(), [*NETWORKS, *timm.list_models()], MAX_SUGGESTED_NAMES, 0.4)
    hint = f"did you mean {' or '.join(close)}?" if close else "timm.list_models() lists them"
    raise ValueError(
        f"encoder: received {name!r}, expected {', '.join(NETWORKS)} or the name of a model of timm: {hint}"
    )


def usual_size(name: str) -> int:
    """Side in pixels of the images that timm's model is made for."""
    check_name(name)
    return _configuration(name).input_size[-1]


def _configuration(name: str) -> Any:
    return timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()


def _size_options(name: str, image_size: int) -> dict[str, Any]:
    """The arguments by which the model takes images of this size; none for a model that takes all sizes."""
    with torch.device("meta"):
        kind = type(timm.create_model(name, pretrained=False, num_classes=0))
    known = inspect.signature(kind.__init__).parameters
    options: dict[str, Any] = {key: value for key, value in FLEXIBLE.items() if key in known}
    if "img_size" in known or _configuration(name).fixed_input_size:
        options["img_size"] = image_size
    return options


def _keep_resolution(model: Any, channels: int) -> None:
    """A first convolution with stride 1, of 3×3 pixels where it is a single one, and no pooling."""
    if isinstance(model.conv1, nn.Conv2d):
        model.conv1 = nn.Conv2d(channels, model.conv1.out_channels, 3, 1, 1, bias=False)
    else:
        model.conv1[0].stride = (1, 1)
    model.maxpool = nn.Identity()


def _with_prefix(module: nn.Module, weights: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Renames the model's keys to those of the module that holds it, before they are loaded."""
    for key in [key for key in weights if key.startswith(prefix)]:
        weights[f"{prefix}{WRAPPED}{key.removeprefix(prefix)}"] = weights.pop(key)
