"""SimCLR: among all views in a batch, find the other view of the same image.

    ℓ(i, j) = −log exp(sim(zᵢ, zⱼ) / T) / Σₖ≠ᵢ exp(sim(zᵢ, zₖ) / T)

averaged over the 2B views, with cosine similarity (Chen et al. 2020, arXiv:2002.05709, equation 1). BatchNorm
normalises over both views, as there; lightly's example takes one view at a time.

Where we differ: the projector has BatchNorm after its hidden layer only, and a bias at its output. The authors' code
and lightly's have a second BatchNorm in place of that bias.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from unlabeled.config import Count
from unlabeled.method import Method
from unlabeled.nn.heads import mlp
from unlabeled.nn.network import ImageNetwork
from unlabeled.nn.precision import full_precision
from unlabeled.training.constants import check_positive


@full_precision
def nt_xent_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross entropy, log(2B − 1) where all embeddings are equal.

    Args:
        first, second: Shape (B, P), embeddings of the two views; they are normalised here.
    """
    z = F.normalize(torch.cat([first, second]), dim=1)
    similarity = z @ z.T / temperature
    similarity.fill_diagonal_(float("-inf"))
    partner = torch.arange(len(z), device=z.device).roll(len(first))
    return F.cross_entropy(similarity, partner)


class SimCLR(Method):
    """Args:
    encoder: (B, C, H, W) to (B, D), with D in its attribute `feature_dim`.
    hidden_dim: Hidden width of the projector.
    projection_dim: Dimensions of the projection (P).
    temperature: T.
    """

    def __init__(
        self, encoder: ImageNetwork, *, hidden_dim: Count = 2048, projection_dim: Count = 128, temperature: float = 0.5
    ):
        super().__init__()
        check_positive("temperature", temperature)
        self.encoder, self.temperature = encoder, temperature
        self.projector = mlp(encoder.feature_dim, hidden_dim, projection_dim)

    def forward(self, batch: Tensor) -> Tensor:
        """NT-Xent of two views as one batch, shape (2B, C, h, w)."""
        first, second = self.projector(self.encoder(batch)).chunk(2)
        return nt_xent_loss(first, second, self.temperature)
