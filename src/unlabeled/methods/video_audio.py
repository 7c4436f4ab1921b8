"""Video and audio: does this sound belong to this video?

    s_ij = a · cos(v_i, w_j) + b,   L = ½ mean over i of −log σ(s_ii)  +  ½ mean over i ≠ j of −log σ(−s_ij)

The task is Arandjelović & Zisserman's (2017, arXiv:1705.08168). Where we differ: each video is compared with all sounds
of the batch, not with one, by the cosine of two embeddings, as in their later arXiv:1712.06651, so that either can be
searched by the other; a and b are learned, as in arXiv:2303.15343.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.method import Method
from unlabeled.nn.precision import full_precision
from unlabeled.pairs.towers import Towers, cosines
from unlabeled.training.constants import check_positive


@full_precision
def correspondence_loss(first: Tensor, second: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Cross entropy of whether each of (B, P) belongs to each of (B, P); log 2 where s is 0 throughout.

    Matching and non-matching pairs have equal weight, although few pairs match.
    """
    answers = scale * cosines(first, second) + bias
    own = torch.eye(len(answers), dtype=torch.bool, device=answers.device)
    return (F.softplus(-answers[own]).mean() + F.softplus(answers[~own]).mean()) / 2


class VideoAudio(Method):
    """Args:
    encoder: Two towers, of frames and of spectrograms.
    scale: Initial value of a.
    """

    encoder: Towers

    def __init__(self, encoder: Towers, *, scale: float = 10.0):
        super().__init__()
        check_positive("scale", scale)
        self.encoder = encoder
        self.log_scale, self.bias = nn.Parameter(torch.tensor(math.log(scale))), nn.Parameter(torch.zeros(()))

    def forward(self, frames: Tensor, spectrograms: Tensor) -> Tensor:
        """Loss of frames (B, T, C, H, W) and spectrograms (B, 1, mels, F); equal rows are of the same clip."""
        towers = self.encoder
        first = towers.first_projection(towers.first(frames))
        second = towers.second_projection(towers.second(spectrograms))
        return correspondence_loss(first, second, self.log_scale.exp(), self.bias)

    def gauges(self) -> dict[str, float]:
        return {"scale": math.exp(self.log_scale.item()), "bias": self.bias.item()}
