"""What the loop knows of a method."""

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, ClassVar

from torch import Tensor, nn

from unlabeled.catalogue import METHODS


class Method(nn.Module):
    """A module that learns an encoder; its constructor takes the encoder, and the paper's constants by keyword.

    Raises:
        ValueError: From the constructor, a constant that cannot be: `<constant>: received …, expected …`.
    """

    encoder: nn.Module
    """What is kept, probed and registered: (B, C, H, W) to (B, D), with `feature_dim`, `channels`, `image_size`."""
    views: ClassVar[int] = 2
    """V, how many views of an image it eats a step."""
    supervised: ClassVar[bool] = False
    """Whether it eats labels too; its constructor then takes `classes`, how many there are."""
    forward: Callable[..., Tensor]
    """Scalar loss of a batch of views, float32 of shape (V·B, C, h, w), view by view; normalised.

    A supervised method's takes the classes too, int64 of shape (B,).
    """

    def after_step(self, progress: float) -> None:
        """Moves what moves outside the gradient; `progress` is the share of the training that is done, in (0, 1]."""

    def gauges(self) -> dict[str, float]:
        """Numbers, by name, that move while it trains and are worth a curve; asked for at the end of an epoch."""
        return {}

    def illustrate(self, images: Tensor) -> dict[str, Tensor]:
        """What it makes of images, for people to look at: rows of pictures by name, none where there is nothing to see.

        Args:
            images: As they are, normalised, float32 of shape (B, C, H, W); the method is in eval mode.

        Returns:
            Pictures in the range of `images`, each of shape (B, C, H, W): the first row is what the others are about.
        """
        return {}

    def suits(self, images: Tensor) -> str | None:
        """Why it would learn nothing from such images, in one sentence; None where it may.

        Args:
            images: A sample of the training images, float32 of shape (N, C, H, W) in [0, 1].
        """
        return None


class ClosedForm(Method):
    """A method that is solved instead of trained."""

    views = 1

    def fit(self, images: Iterable[Tensor]) -> float:
        """Solves for the encoder's weights, and returns what it calls its loss: each method says which.

        Args:
            images: Batches of the training images, normalised, float32 of shape (B, C, H, W); can be walked again.
        """
        raise NotImplementedError


def load_method(name: str) -> Any:
    """The class of that name, a `method.Method`."""
    module, _, attribute = METHODS[name].partition(":")
    return getattr(import_module(module), attribute)
