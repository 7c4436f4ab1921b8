"""VAE: an autoencoder with random latent variables, whose distribution stays near the standard normal one.

    L = ½ ‖x − g(z)‖² + β KL(N(μ, σ²) ‖ N(0, 1)),   z = μ + σ ε,   KL = ½ Σ (μ² + σ² − 1 − log σ²)

averaged over images and summed over pixels (Kingma & Welling 2013, arXiv:1312.6114, equation 10, with a Gaussian of
unit variance as likelihood; β of Higgins et al. 2017).
"""

import torch
from torch import Tensor, nn

from unlabeled.config import Count
from unlabeled.method import Method
from unlabeled.nn.heads import Decoder
from unlabeled.nn.network import ImageNetwork
from unlabeled.training.constants import check_range


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, variance) from N(0, 1), in nats: (B, Z) twice to (B,)."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2


class VAE(Method):
    """Args:
    encoder: (B, C, H, W) to (B, D), with `feature_dim`, `channels` and `image_size`.
    latent_dim: Number of latent dimensions (Z).
    beta: Weight β of the KL divergence.
    width: Channels of the decoder's last layer.
    """

    views = 1

    def __init__(self, encoder: ImageNetwork, *, latent_dim: Count = 64, beta: float = 1.0, width: Count = 32):
        super().__init__()
        check_range("latent_dim", latent_dim, 1, encoder.feature_dim)
        check_range("beta", beta, 0, float("inf"))
        self.encoder, self.beta, self.latent_dim = encoder, beta, latent_dim
        self.moments = nn.Linear(encoder.feature_dim, 2 * latent_dim)
        self.decoder = Decoder(latent_dim, encoder.channels, encoder.image_size, width)

    def forward(self, batch: Tensor) -> Tensor:
        """The negative evidence lower bound, up to a constant, of one view, shape (B, C, h, w)."""
        mean, log_variance = self.moments(self.encoder(batch)).float().chunk(2, dim=1)
        # From torch's own generator, which the loop seeds at each step.
        latent = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        error = (self.decoder(latent).float() - batch).square().flatten(1).sum(1) / 2
        return (error + self.beta * kl_divergence(mean, log_variance)).mean()

    def means(self, batch: Tensor) -> Tensor:
        """μ of each image, (B, Z)."""
        return self.moments(self.encoder(batch))[:, : self.latent_dim]

    def reconstruct(self, batch: Tensor) -> Tensor:
        """Images like `batch`, reconstructed from their means μ."""
        return self.decoder(self.means(batch))

    def sample(self, count: int) -> Tensor:
        """New images drawn from the prior, (count, C, H, W), normalised like the training's."""
        return self.decoder(torch.randn(count, self.latent_dim, device=next(self.parameters()).device))

    def illustrate(self, images: Tensor) -> dict[str, Tensor]:
        means = self.means(images)
        return {
            "image": images,
            "reconstruction": self.decoder(means),
            "halfway to the next image": self.decoder((means + means.roll(-1, 0)) / 2),
            "sample from the prior": self.sample(len(images)),
        }
