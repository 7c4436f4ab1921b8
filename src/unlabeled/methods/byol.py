"""BYOL: from one view of an image, predict the embedding that a slowly moving copy of the network gives the other view.

    L = mean over images of ‖q̄(z₁) − z̄′₂‖² + ‖q̄(z₂) − z̄′₁‖²,   ξ ← τξ + (1 − τ)θ,   τ = 1 − (1 − τ₀)(cos(πk/K) +
    1)/2

with the predictor q on the online side only, no gradient into the target ξ, and bars for L2 normalisation (Grill et
al. 2020, arXiv:2006.07733, equations 2 and 3, section 3.3). The target stays in train mode and normalises by its own
batch, as in the paper's code; the average covers its parameters, and its running statistics are its own.

Where we differ: both views go through a network as one batch, so that BatchNorm normalises over both and its running
statistics move once a step; the paper's code and lightly's take one view at a time. k, the step of τ, counts from 1;
theirs counts from 0. The loss is the paper's: 4 + 4 times lightly's, which is the mean of both −cos. With SGD, a
quarter of lightly's learning rate and four times its weight decay give lightly's steps.
"""

from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.config import Count
from unlabeled.method import Method
from unlabeled.nn.ema import cosine_momentum, follow
from unlabeled.nn.heads import mlp
from unlabeled.nn.network import ImageNetwork
from unlabeled.nn.precision import at_least_float32
from unlabeled.training.constants import check_range


def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of L2-normalised vectors, 2 − 2 cos.

    Args:
        prediction: Shape (B, P).
        target: Shape (B, P); no gradient flows into it.

    Returns:
        Scalar in [0, 4].
    """
    return 2 - 2 * F.cosine_similarity(prediction, target.detach(), dim=-1).mean()


class BYOL(Method):
    """Args:
    encoder: (B, C, H, W) to (B, D), with D in its attribute `feature_dim`.
    hidden_dim: Hidden width of the projector and the predictor.
    projection_dim: Dimensions of the projection (P).
    momentum: τ₀; .996 in the paper, where training takes 1000 epochs of ImageNet; short runs on small data want .99.
    final_momentum: τ at the end of the cosine; 1 in the paper. If equal to `momentum`, τ is constant.
    predictor: "mlp", as in the paper, or "linear", a matrix and a bias (Tian et al. 2021, arXiv:2102.06810), which is
        worse on ImageNet there and on CIFAR-10 here, and better on digits.
    projection_norm: Whether BatchNorm, without scale and shift, normalises projections, as in SimSiam and MoCo v3; not
        in the paper.
    """

    def __init__(
        self,
        encoder: ImageNetwork,
        *,
        hidden_dim: Count = 4096,
        projection_dim: Count = 256,
        momentum: float = 0.996,
        final_momentum: float = 1.0,
        predictor: Literal["mlp", "linear"] = "mlp",
        projection_norm: bool = False,
    ):
        super().__init__()
        check_range("momentum", momentum, 0, 1)
        check_range("final_momentum", final_momentum, 0, 1)
        self.encoder = encoder
        self.projector = mlp(encoder.feature_dim, hidden_dim, projection_dim)
        if projection_norm:
            self.projector.append(nn.BatchNorm1d(projection_dim, affine=False))
        if predictor == "linear":
            self.predictor = nn.Linear(projection_dim, projection_dim)
        else:
            self.predictor = mlp(projection_dim, hidden_dim, projection_dim)
        self.target = deepcopy(nn.Sequential(self.encoder, self.projector)).requires_grad_(False)
        self.momentum = self.tau = momentum
        self.final_momentum = final_momentum

    def forward(self, batch: Tensor) -> Tensor:
        """Symmetrised loss, a scalar in [0, 8], of two views as one batch, shape (2B, C, h, w)."""
        prediction = self.predictor(self.projector(self.encoder(batch)))
        with torch.no_grad():
            target = self.target(batch)
        (p1, p2), (t1, t2) = (at_least_float32(x).chunk(2) for x in (prediction, target))
        return byol_loss(p1, t2) + byol_loss(p2, t1)

    def after_step(self, progress: float) -> None:
        self.tau = cosine_momentum(self.momentum, progress, self.final_momentum)
        follow(self.target, (self.encoder, self.projector), self.tau)

    def gauges(self) -> dict[str, float]:
        return {"momentum": self.tau}
