"""Colorization: from an image's lightness, predict its colours.

    L = mean over places of −w_q log p_q,   w ∝ 1 / ((1 − λ) p̃ + λ / Q),   Σ p̃_q w_q = 1

with the colours, a and b of CIE Lab, quantised to squares of 10 (Zhang et al. 2016, arXiv:1603.08511, equations 2 to
4). Unlike there, the target of a place is its nearest colour only, not five with weights; the colour frequencies p̃ are
counted while training and not smoothed; colours are predicted at the resolution of the encoder's last feature map.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.method import Method
from unlabeled.nn.network import ImageNetwork
from unlabeled.nn.precision import full_precision
from unlabeled.training.constants import check_range

BIN_SIZE = 10
"""Side of a bin, in units of a and b."""
MAX_COLOUR = 110
"""Largest |a| and |b| of a displayable colour, rounded up."""
ANNEALING = 0.38
"""Temperature T of the colours in illustrations."""
MAX_GREY_CHROMA = 4.0
"""Mean chroma below which images count as grey."""
WHITE = (0.95047, 1.0, 1.08883)
TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))


@full_precision
def rgb_to_lab(images: Tensor) -> Tensor:
    """Converts sRGB (B, 3, H, W) in [0, 1] to CIE Lab under D65: L in [0, 100], a and b within ± 110."""
    images = images.clamp(0, 1)
    linear = torch.where(images <= 0.04045, images / 12.92, ((images + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("ij,bjhw->bihw", images.new_tensor(TO_XYZ), linear)
    xyz = xyz / images.new_tensor(WHITE)[:, None, None]
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=1e-8) ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """The inverse of `rgb_to_lab`; colours outside of sRGB are clamped."""
    y = (lab[:, 0] + 16) / 116
    f = torch.stack([y + lab[:, 1] / 500, y, y - lab[:, 2] / 200], 1)
    xyz = torch.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * lab.new_tensor(WHITE)[:, None, None]
    linear = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(lab.new_tensor(TO_XYZ)), xyz).clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-8) ** (1 / 2.4) - 0.055)


def colour_bins() -> Tensor:
    """Centres (Q, 2) of the bins of a and b that contain a displayable colour."""
    axis = torch.linspace(0, 1, 33)
    cube = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).view(1, 3, 33, -1)
    return (rgb_to_lab(cube)[0, 1:].flatten(1).T / BIN_SIZE).round().unique(dim=0) * BIN_SIZE


class Colorization(Method):
    """Args:
    encoder: (B, 3, H, W) to (B, D), with a `feature_map`. It sees the lightness in all three channels.
    uniform: λ, the uniform fraction of the prior: 1 weighs all colours equally.
    """

    encoder: ImageNetwork
    views = 1
    seen: Tensor

    def __init__(self, encoder: ImageNetwork, *, uniform: float = 0.5):
        super().__init__()
        check_range("uniform", uniform, 0, 1)
        if encoder.channels != 3:
            raise ValueError(f"colorization needs colours, and these images have {encoder.channels} channel")
        if not hasattr(encoder, "feature_map"):
            raise ValueError("encoder: colorization needs a ResNet or a ViT, which know where in an image they look")
        self.encoder, self.uniform = encoder, uniform
        with torch.device("cpu"):
            bins = colour_bins()
            side = 2 * MAX_COLOUR // BIN_SIZE + 1
            places = ((bins + MAX_COLOUR) / BIN_SIZE).round().long()
            table = torch.cdist(_grid(), bins).argmin(1)
            table[places[:, 0] * side + places[:, 1]] = torch.arange(len(bins))
        device = torch.get_default_device()
        self.bins, self.table = nn.Buffer(bins.to(device)), nn.Buffer(table.to(device))
        self.counts = nn.Buffer(torch.ones(len(bins)))
        self.head = nn.Conv2d(encoder.feature_dim, len(bins), 1)

    def forward(self, batch: Tensor) -> Tensor:
        """Weighted cross entropy over the colours of one view, shape (B, 3, h, w)."""
        lab = self.to_lab(batch)
        logits = self.predict(lab)
        targets = self.quantise(F.adaptive_avg_pool2d(lab[:, 1:], (logits.shape[-2], logits.shape[-1])))
        # Weighted by hand: torch would divide by the weights of the batch, and rare colours would not count for more.
        losses = F.cross_entropy(logits, targets, reduction="none")
        self.seen = torch.zeros_like(self.counts).scatter_add_(0, targets.flatten(), torch.ones_like(losses).flatten())
        return (self.weights()[targets] * losses).mean()

    def to_lab(self, batch: Tensor) -> Tensor:
        mean, std = (each[:, None, None] for each in self.encoder.normalisation.tensors(batch.device))
        return rgb_to_lab(batch * std + mean)

    def predict(self, lab: Tensor) -> Tensor:
        """Logits of the bins, (B, Q, h, w), from the lightness alone."""
        mean, std = (each[:, None, None] for each in self.encoder.normalisation.tensors(lab.device))
        lightness = (lab[:, :1] / 100 - mean) / std
        return self.head(self.encoder.feature_map(lightness.contiguous(memory_format=torch.channels_last))).float()

    def quantise(self, colours: Tensor) -> Tensor:
        """The nearest bin of a and b, (B, 2, h, w) to int64 (B, h, w)."""
        a, b = ((colours.clamp(-MAX_COLOUR, MAX_COLOUR) + MAX_COLOUR) / BIN_SIZE).round().long().unbind(1)
        return self.table[a * (2 * MAX_COLOUR // BIN_SIZE + 1) + b]

    def weights(self) -> Tensor:
        """Weight w of each bin, shape (Q,), with expectation 1."""
        prior = self.counts / self.counts.sum()
        weights = 1 / ((1 - self.uniform) * prior + self.uniform / len(prior))
        return weights / (prior * weights).sum()

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        self.counts += self.seen

    def illustrate(self, images: Tensor) -> dict[str, Tensor]:
        """Illustrations in which a place's colour is the annealed mean of the paper's equation 5, at T = 0.38."""
        mean, std = (each[:, None, None] for each in self.encoder.normalisation.tensors(images.device))
        lab = self.to_lab(images)
        colours = torch.einsum("bqhw,qc->bchw", (self.predict(lab) / ANNEALING).softmax(1), self.bins)
        colours = F.interpolate(colours, lab.shape[-2:], mode="bilinear")
        lightness = torch.cat([lab[:, :1], torch.zeros_like(lab[:, 1:])], 1)
        rows = {"lightness": lightness, "coloured": torch.cat([lab[:, :1], colours], 1)}
        return {"image": images, **{name: (lab_to_rgb(row) - mean) / std for name, row in rows.items()}}

    def reason_unsuitable(self, images: Tensor) -> str | None:
        chroma = rgb_to_lab(images)[:, 1:].norm(dim=1).mean().item()
        return f"these images are grey: their mean chroma is {chroma:.1f} of 100" if chroma < MAX_GREY_CHROMA else None


def _grid() -> Tensor:
    axis = torch.arange(-MAX_COLOUR, MAX_COLOUR + 1, BIN_SIZE, dtype=torch.float32)
    return torch.cartesian_prod(axis, axis)
