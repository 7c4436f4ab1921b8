"""Interface between a method and the training loop."""

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, ClassVar

from torch import Tensor, nn

from unlabeled.catalogue import METHODS


class Method(nn.Module):
    """A module that trains an encoder; its constructor takes the encoder, and the paper's constants by keyword.

    Raises:
        ValueError: The constructor received an invalid constant: `<constant>: received …, expected …`.
    """

    encoder: nn.Module
    """The network that is kept, probed and registered: (B, C, H, W) to (B, D), with `feature_dim`, `channels`,
    `image_size`."""
    views: ClassVar[int] = 2
    """Augmented views per image per step (V)."""
    supervised: ClassVar[bool] = False
    """Whether it also takes labels; its constructor then takes `classes`, their number."""
    forward: Callable[..., Tensor]
    """Scalar loss of a batch of normalised views, float32 of shape (V·B, C, h, w), view by view.

    A supervised method's takes the classes too, int64 of shape (B,).
    """

    def after_step(self, progress: float) -> None:
        """Updates what moves outside the gradient; `progress` is the completed fraction of the training, in (0, 1]."""

    def gauges(self) -> dict[str, float]:
        """Quantities, by name, that change during training and are plotted as curves; read at the end of each epoch."""
        return {}

    def illustrate(self, images: Tensor) -> dict[str, Tensor]:
        """Pictures of what it makes of images: rows by name; empty where there is nothing to see.

        Args:
            images: Images without augmentation, normalised, float32 (B, C, H, W); the method is in eval mode.

        Returns:
            Pictures in the range of `images`, each of shape (B, C, H, W); the others refer to the first row.
        """
        return {}

    def reason_unsuitable(self, images: Tensor) -> str | None:
        """The reason why it would learn nothing from such images, in one sentence; None where it may learn.

        Args:
            images: A sample of the training images, float32 of shape (N, C, H, W) in [0, 1].
        """
        return None


class ClosedForm(Method):
    """A method that is solved in closed form instead of trained."""

    views = 1

    def fit(self, images: Iterable[Tensor]) -> float:
        """Solves for the encoder's weights, and returns a loss that each method defines.

        Args:
            images: Batches of the training images, normalised, float32 (B, C, H, W); can be iterated repeatedly.
        """
        raise NotImplementedError


def load_method(name: str) -> Any:
    """The method's class, a `method.Method`, by name."""
    module, _, attribute = METHODS[name].partition(":")
    return getattr(import_module(module), attribute)
