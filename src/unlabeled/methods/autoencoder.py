"""Autoencoder: compress an image to a few numbers, and reconstruct it from them.

    L = mean over pixels of (x − g(f(x)))²

(Hinton & Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks"). The few numbers are a linear
map of the encoder's features; the encoder is kept.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.config import Count
from unlabeled.method import Method
from unlabeled.nn.heads import Decoder
from unlabeled.nn.network import ImageNetwork
from unlabeled.training.constants import check_range


class Autoencoder(Method):
    """Args:
    encoder: (B, C, H, W) to (B, D), with `feature_dim`, `channels` and `image_size`.
    latent_dim: Number of latent dimensions.
    width: Channels of the decoder's last layer.
    """

    views = 1

    def __init__(self, encoder: ImageNetwork, *, latent_dim: Count = 64, width: Count = 32):
        super().__init__()
        check_range("latent_dim", latent_dim, 1, encoder.feature_dim)
        self.encoder = encoder
        self.squeeze = nn.Linear(encoder.feature_dim, latent_dim)
        self.decoder = Decoder(latent_dim, encoder.channels, encoder.image_size, width)

    def forward(self, batch: Tensor) -> Tensor:
        """Mean squared error of one view, shape (B, C, h, w); that of the mean image is 1."""
        return F.mse_loss(self.reconstruct(batch).float(), batch)

    def reconstruct(self, batch: Tensor) -> Tensor:
        """Reconstructed images, like `batch`."""
        return self.decoder(self.squeeze(self.encoder(batch)))

    def illustrate(self, images: Tensor) -> dict[str, Tensor]:
        return {"image": images, "reconstruction": self.reconstruct(images)}
