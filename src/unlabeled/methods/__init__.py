"""The methods by name. Adding one is a file beside this one, a line here, a block of parameters and a test."""

from torch import Tensor, nn

from unlabeled.methods.byol import BYOL


class Method(nn.Module):
    """All that the loop knows of a method; a method need not inherit from it."""

    encoder: nn.Module
    """What is kept, probed and registered."""
    views: int
    """V, how many views of an image it eats a step."""

    def forward(self, batch: Tensor) -> Tensor:
        """Scalar loss of a batch of views, shape (V·B, C, h, w), view by view."""
        raise NotImplementedError

    def after_step(self, progress: float) -> None:
        """Moves what moves outside the gradient; `progress` is the share of the training that is done, in (0, 1]."""


METHODS = {"byol": BYOL}
