"""Inpainting: from an image with a hole, predict what was in the hole.

    L = mean over the hole's pixels of (x − g(f(x̂)))²,   x̂ the image with its mean colour in the hole

(Pathak et al. 2016, arXiv:1604.07379, equation 1; its adversarial term is left out). The hole is a square of half the
image's side at a random place, a quarter of the image, like the paper's in the centre.
"""

import torch
from torch import Tensor

from unlabeled.config import Count
from unlabeled.method import Method
from unlabeled.nn.heads import Decoder
from unlabeled.nn.network import ImageNetwork
from unlabeled.training.constants import check_share


class Inpainting(Method):
    """Args:
    encoder: (B, C, H, W) to (B, D), with `feature_dim`, `channels` and `image_size`.
    hole: Side of the hole as a fraction of the image's.
    width: Channels of the decoder's last layer.
    """

    views = 1

    def __init__(self, encoder: ImageNetwork, *, hole: float = 0.5, width: Count = 32):
        super().__init__()
        check_share("hole", hole)
        self.encoder, self.side = encoder, max(1, round(hole * encoder.image_size))
        self.decoder = Decoder(encoder.feature_dim, encoder.channels, encoder.image_size, width)

    def forward(self, batch: Tensor) -> Tensor:
        """Mean squared error within the holes of one view, shape (B, C, h, w); that of the mean image is 1."""
        holes = self.draw_holes(batch)
        error = (self.fill(batch, holes).float() - batch).square()
        return (error * holes).sum() / (holes.sum() * batch.shape[1])

    def draw_holes(self, batch: Tensor) -> Tensor:
        """Random masks that are 1 inside of the hole and 0 outside, (B, 1, h, w)."""
        size = batch.shape[-1]
        # From torch's own generator, which the loop seeds at each step.
        top, left = torch.randint(size - self.side + 1, (2, len(batch), 1), device=batch.device)
        at = torch.arange(size, device=batch.device)
        rows, columns = ((at >= start) & (at < start + self.side) for start in (top, left))
        return (rows[:, None, :, None] & columns[:, None, None, :]).float()

    def fill(self, batch: Tensor, holes: Tensor) -> Tensor:
        """The network's prediction of images whose holes are hidden from it; like `batch`."""
        return self.decoder(self.encoder(batch * (1 - holes)))

    def illustrate(self, images: Tensor) -> dict[str, Tensor]:
        holes = self.draw_holes(images)
        outside = images * (1 - holes)
        return {"image": images, "with a hole": outside, "filled in": outside + holes * self.fill(images, holes)}
