"""MAE: show a transformer a quarter of an image's patches, and predict the pixels of the others.

    L = mean over masked patches of ‖ŷ − y‖² / pixels,   y a patch's pixels, standardised within the patch

(He et al. 2021, arXiv:2111.06377, section 3). The encoder sees visible patches only; a narrow decoder sees their
tokens, and a learned mask token with its position for each masked patch.

Where we differ: the positions of the encoder and of the decoder are learned, and decay as weights do; the paper's are
fixed sines and cosines. The class token does not enter the decoder. The number of visible patches is rounded to the
nearest; the authors' code and lightly's round it down. Weights start as torchvision's and torch's do, with tokens at 0;
theirs are Xavier's, with tokens of deviation .02. A patch's pixels lie channel by channel; theirs lie pixel by pixel.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.config import Count
from unlabeled.method import Method
from unlabeled.nn.network import ImageNetwork
from unlabeled.nn.precision import at_least_float32
from unlabeled.nn.torchvision_networks import transformer_block
from unlabeled.training.constants import check_share


def patchify(images: Tensor, size: int) -> Tensor:
    """Images (B, C, H, W) as rows of patches, in the order of a ViT's tokens: (B, T, C · size²)."""
    return F.unfold(images, size, stride=size).transpose(1, 2)


class MAE(Method):
    """Args:
    encoder: A ViT.
    mask_ratio: Fraction of the patches that the encoder does not see.
    decoder_dim, decoder_depth, decoder_heads: Width, blocks and attention heads of the decoder.
    """

    encoder: ImageNetwork
    views = 1

    def __init__(
        self,
        encoder: ImageNetwork,
        *,
        mask_ratio: float = 0.75,
        decoder_dim: Count = 512,
        decoder_depth: Count = 8,
        decoder_heads: Count = 16,
    ):
        super().__init__()
        check_share("mask_ratio", mask_ratio)
        if not hasattr(encoder, "tokens"):
            raise ValueError(
                "mae needs a ViT: set pretraining.encoder to small_vit, vit_tiny, vit_small, vit_base or timm's vit_…"
            )
        if decoder_dim % decoder_heads:
            raise ValueError(
                f"decoder_heads: received {decoder_heads}, expected a divisor of decoder_dim={decoder_dim}"
            )
        self.encoder, self.patch_size = encoder, encoder.patch_size
        patches = (encoder.image_size // encoder.patch_size) ** 2
        self.visible = round((1 - mask_ratio) * patches)
        if not 0 < self.visible < patches:
            raise ValueError(
                f"mask_ratio: received {mask_ratio}, which shows {self.visible} of {patches} patches, expected 1 to "
                f"{patches - 1}"
            )
        self.into_decoder = nn.Linear(encoder.feature_dim, decoder_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_dim))
        self.positions = nn.Parameter(0.02 * torch.randn(1, patches, decoder_dim))
        self.decoder = nn.Sequential(
            *(transformer_block(decoder_dim, decoder_heads) for _ in range(decoder_depth)),
            nn.LayerNorm(decoder_dim, eps=1e-6),
            nn.Linear(decoder_dim, encoder.channels * self.patch_size**2),
        )

    def forward(self, batch: Tensor) -> Tensor:
        """Loss of one view, shape (B, C, h, w)."""
        patches = patchify(batch, self.patch_size)
        order = self.draw_order(patches)
        predicted = at_least_float32(self.predict(batch, order[:, : self.visible]))
        mean, variance = patches.mean(2, keepdim=True), patches.var(2, keepdim=True)
        error = (predicted - (patches - mean) / (variance + 1e-6).sqrt()).square().mean(2)
        return error.gather(1, order[:, self.visible :]).mean()

    def draw_order(self, patches: Tensor) -> Tensor:
        """The patches of each image in a random order, the visible ones first: int64 of shape (B, T)."""
        # From torch's own generator, which the loop seeds at each step.
        return torch.rand(patches.shape[:2], device=patches.device).argsort(1)

    def predict(self, batch: Tensor, visible: Tensor) -> Tensor:
        """Normalised pixels of all patches, (B, T, C · patch²), from those whose indices (B, V) are given."""
        tokens = self.into_decoder(self.encoder.tokens(batch, visible))
        masked = self.mask_token.to(tokens.dtype).expand(len(batch), self.positions.shape[1], -1)
        everywhere = masked.scatter(1, visible[..., None].expand_as(tokens), tokens)
        return self.decoder(everywhere + self.positions)

    def illustrate(self, images: Tensor) -> dict[str, Tensor]:
        """Illustrations in which predicted patches have the mean and deviation of the true ones, which MAE does not
        predict."""
        patches = patchify(images, self.patch_size)
        visible = self.draw_order(patches)[:, : self.visible]
        mean, std = patches.mean(2, keepdim=True), patches.std(2, keepdim=True)
        predicted = at_least_float32(self.predict(images, visible)) * std + mean
        shown = torch.zeros_like(patches[..., :1]).scatter(1, visible[..., None], 1)
        rows = {"image": patches, "what it sees": patches * shown}
        rows["predicted"] = torch.where(shown > 0, patches, predicted)
        size, side = (images.shape[-2], images.shape[-1]), self.patch_size
        return {name: F.fold(row.transpose(1, 2), size, side, stride=side) for name, row in rows.items()}
