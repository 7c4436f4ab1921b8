"""Rotation: recognise by how many quarter turns an image was rotated.

    L = mean over images and the four rotations y of −log p_y(rot(x, 90° · y))

(Gidaris et al. 2018, arXiv:1803.07728, equations 2 and 3). All four rotations of an image are in one batch, as there.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.method import Method
from unlabeled.nn.network import ImageNetwork

MIN_CHANGE = 0.1
"""Fraction of an image's contrast below which a rotation hardly changes it."""


def rotations(images: Tensor) -> Tensor:
    """Images (B, C, S, S) rotated counter-clockwise by 0, 90, 180 and 270 degrees, in this order: (4B, C, S, S)."""
    return torch.cat([images.rot90(turns, (2, 3)) for turns in range(4)])


class Rotation(Method):
    """Args:
    encoder: (B, C, H, W) to (B, D), with D in its attribute `feature_dim`.
    """

    views = 1

    def __init__(self, encoder: ImageNetwork):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.feature_dim, 4)

    def forward(self, batch: Tensor) -> Tensor:
        """Cross entropy over the four rotations of one view, shape (B, C, h, w); log 4 by chance."""
        images = rotations(batch).contiguous(memory_format=torch.channels_last)
        turns = torch.arange(4, device=batch.device).repeat_interleave(len(batch))
        return F.cross_entropy(self.head(self.encoder(images)).float(), turns)

    def illustrate(self, images: Tensor) -> dict[str, Tensor]:
        turns = torch.arange(len(images), device=images.device) % 4
        turned = torch.stack([image.rot90(int(turn), (1, 2)) for image, turn in zip(images, turns, strict=True)])
        told = self.head(self.encoder(turned)).argmax(1)
        back = torch.stack([image.rot90(-int(turn), (1, 2)) for image, turn in zip(turned, told, strict=True)])
        return {"image": images, "turned": turned, "turned back by its answer": back}

    def reason_unsuitable(self, images: Tensor) -> str | None:
        turned = rotations(images).unflatten(0, (4, -1))
        contrast = (images - images.mean((2, 3), keepdim=True)).square().mean((1, 2, 3))
        change = (turned[1:] - images).square().mean((2, 3, 4)).amin(0)
        if (change < MIN_CHANGE * contrast).float().mean() < 0.5:
            return None
        return "most of these images look the same after a quarter turn, so that there is nothing to tell"
