"""CLIP: in a batch of images and captions, find the caption of each image and the image of each caption.

    L = ½ (CE(s · I Tᵀ, i) + CE(s · T Iᵀ, i)),   I, T unit vectors, s = exp(t) learned and at most 100

(Radford et al. 2021, arXiv:2103.00020, figure 3.) Where we differ: a caption's feature is the mean over its tokens, not
the last one, and captions are grouped by their length, so that none is padded.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.method import Method
from unlabeled.nn.precision import full_precision
from unlabeled.pairs.captions import Group, features_of
from unlabeled.pairs.towers import Towers, cosines
from unlabeled.training.constants import check_positive

MAX_SCALE = 100.0
"""Largest scale s."""


@full_precision
def contrastive_loss(first: Tensor, second: Tensor, scale: Tensor) -> Tensor:
    """Symmetric cross entropy of two kinds of embeddings (B, P), which are normalised here; log B where all are
    equal."""
    logits = scale * cosines(first, second)
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


class CLIP(Method):
    """Args:
    encoder: Two towers, of images and of captions.
    temperature: Initial value of 1 / s.
    """

    encoder: Towers
    views = 1

    def __init__(self, encoder: Towers, *, temperature: float = 0.07):
        super().__init__()
        check_positive("temperature", temperature)
        self.encoder = encoder
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def forward(self, images: Tensor, *captions: Group) -> Tensor:
        """Loss of images (B, C, h, w) and the captions of the batch."""
        towers = self.encoder
        first = towers.first_projection(towers.first(images))
        second = towers.second_projection(features_of(towers.second, captions))
        return contrastive_loss(first, second, self.log_scale.exp())

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        self.log_scale.clamp_(max=math.log(MAX_SCALE))

    def gauges(self) -> dict[str, float]:
        return {"temperature": math.exp(-self.log_scale.item())}
