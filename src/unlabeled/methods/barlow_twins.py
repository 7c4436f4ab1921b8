"""Barlow Twins: make each feature of two views correlate with itself, and with no other feature.

    L = Σᵢ (1 − Cᵢᵢ)² + λ Σᵢ Σⱼ≠ᵢ Cᵢⱼ²,   C = Ẑ₁ᵀ Ẑ₂ / B

with each feature standardised over the batch (Zbontar et al. 2021, arXiv:2103.03230, equation 1). The variance is
biased and has 1e-5 added to it, as in BatchNorm. The projector's last layer has no bias, as in the authors' code;
lightly's has one, which no gradient reaches.

Where we differ: both views go through the network as one batch, so that its BatchNorm normalises over both and its
running statistics move once a step; the authors' code and lightly's take one view at a time. All parameters have one
learning rate; the authors' biases and norms have another.
"""

from torch import Tensor
from torch.nn import functional as F

from unlabeled.config import Count
from unlabeled.method import Method
from unlabeled.nn.heads import deep_mlp
from unlabeled.nn.network import ImageNetwork
from unlabeled.nn.precision import full_precision
from unlabeled.training.constants import check_positive, check_range


@full_precision
def barlow_twins_loss(first: Tensor, second: Tensor, redundancy: float) -> Tensor:
    """Sum of the two terms; 0 where features are equal in both views and uncorrelated.

    Args:
        first, second: Shape (B, P), embeddings of the two views.
        redundancy: λ.
    """
    z1, z2 = (F.batch_norm(z, None, None, training=True) for z in (first, second))
    correlation = z1.T @ z2 / len(z1)
    invariance = (1 - correlation.diagonal()).square().sum()
    reduction = correlation.square().sum() - correlation.diagonal().square().sum()
    return invariance + redundancy * reduction


class BarlowTwins(Method):
    """Args:
    encoder: (B, C, H, W) to (B, D), with D in its attribute `feature_dim`.
    projection_dim: P, the width of all three layers of the projector.
    redundancy: λ.
    loss_scale: Factor of the loss (`scale-loss` in the authors' code), which LARS's plain steps and its clip feel.
    """

    def __init__(
        self, encoder: ImageNetwork, *, projection_dim: Count = 8192, redundancy: float = 0.005, loss_scale: float = 1.0
    ):
        super().__init__()
        check_range("redundancy", redundancy, 0, float("inf"))
        check_positive("loss_scale", loss_scale)
        self.encoder, self.redundancy, self.loss_scale = encoder, redundancy, loss_scale
        self.projector = deep_mlp(encoder.feature_dim, projection_dim)

    def forward(self, batch: Tensor) -> Tensor:
        """Loss of two views as one batch, shape (2B, C, h, w)."""
        first, second = self.projector(self.encoder(batch)).chunk(2)
        return self.loss_scale * barlow_twins_loss(first, second, self.redundancy)
