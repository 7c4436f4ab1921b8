"""VICReg: make two views' embeddings equal, while each feature keeps its variance and no two features correlate.

    L = λ MSE(Z₁, Z₂) + μ ½ (v(Z₁) + v(Z₂)) + ν (c(Z₁) + c(Z₂))
    v(Z) = mean over features of max(0, 1 − √(Var + ε)),   c(Z) = Σᵢ Σⱼ≠ᵢ Cov(Z)ᵢⱼ² / P

(Bardes et al. 2021, arXiv:2105.04906, equations 1 to 6; the half is in the authors' code). The expander's last layer
has no bias, as there; lightly's has one, which no gradient reaches.

Where we differ: both views go through the network as one batch, so that its BatchNorm normalises over both and its
running statistics move once a step; the authors' code and lightly's take one view at a time.
"""

from torch import Tensor
from torch.nn import functional as F

from unlabeled.config import Count
from unlabeled.method import Method
from unlabeled.nn.heads import deep_mlp
from unlabeled.nn.network import ImageNetwork
from unlabeled.nn.precision import full_precision
from unlabeled.training.constants import check_range


@full_precision
def vicreg_loss(first: Tensor, second: Tensor, invariance: float, variance: float, covariance: float) -> Tensor:
    """Weighted sum of the three terms for embeddings (B, P), with B ≥ 2."""
    spread = (_variance(first) + _variance(second)) / 2
    redundancy = _covariance(first) + _covariance(second)
    return invariance * F.mse_loss(first, second) + variance * spread + covariance * redundancy


def _variance(z: Tensor) -> Tensor:
    return F.relu(1 - (z.var(0) + 1e-4).sqrt()).mean()


def _covariance(z: Tensor) -> Tensor:
    z = z - z.mean(0)
    covariance = z.T @ z / (len(z) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / z.shape[1]


class VICReg(Method):
    """Args:
    encoder: (B, C, H, W) to (B, D), with D in its attribute `feature_dim`.
    projection_dim: P, the width of all three layers of the expander.
    invariance, variance, covariance: λ, μ, ν.
    """

    def __init__(
        self,
        encoder: ImageNetwork,
        *,
        projection_dim: Count = 8192,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
    ):
        super().__init__()
        for name, weight in {"invariance": invariance, "variance": variance, "covariance": covariance}.items():
            check_range(name, weight, 0, float("inf"))
        self.encoder, self.weights = encoder, (invariance, variance, covariance)
        self.projector = deep_mlp(encoder.feature_dim, projection_dim)

    def forward(self, batch: Tensor) -> Tensor:
        """Loss of two views as one batch, shape (2B, C, h, w)."""
        first, second = self.projector(self.encoder(batch)).chunk(2)
        return vicreg_loss(first, second, *self.weights)
