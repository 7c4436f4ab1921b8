"""Small networks that methods put on an encoder during training."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two linear layers with BatchNorm and ReLU between them."""
    return nn.Sequential(
        nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs)
    )


def deep_mlp(inputs: int, width: int) -> nn.Sequential:
    """Three layers of one width with BatchNorm between them, as in Barlow Twins, VICReg and SimSiam."""
    return nn.Sequential(
        nn.Linear(inputs, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width, bias=False),
    )


class Prototypes(nn.Module):
    """DINO's head: three layers, then cosine similarity with prototypes, (B, D) to (B, prototypes)."""

    def __init__(self, inputs: int, hidden: int, bottleneck: int, prototypes: int, batch_norm: bool):
        super().__init__()
        norm = nn.BatchNorm1d if batch_norm else nn.Identity
        wide = [layer for size in (inputs, hidden) for layer in (nn.Linear(size, hidden), norm(hidden), nn.GELU())]
        self.layers = nn.Sequential(*wide, nn.Linear(hidden, bottleneck))
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        nn.init.trunc_normal_(self.prototypes, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.layers(x), dim=-1) @ F.normalize(self.prototypes, dim=-1).T


class Decoder(nn.Module):
    """A decoder from vectors to images, (B, inputs) to (B, C, S, S), by convolutions and repeated doubling of the side.

    Args:
        width: Channels of the last layer; each earlier layer has twice as many, up to 8 times `width`.
    """

    def __init__(self, inputs: int, channels: int, size: int, width: int):
        super().__init__()
        sides = [size]
        while sides[0] > 4:
            sides.insert(0, -(-sides[0] // 2))
        widths = [width * min(8, 2**i) for i in reversed(range(len(sides)))]
        layers: list[nn.Module] = [
            nn.Linear(inputs, widths[0] * sides[0] ** 2),
            nn.Unflatten(1, (widths[0], *sides[:1] * 2)),
        ]
        for before, after, side in zip(widths, widths[1:], sides[1:], strict=False):
            layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True), nn.Upsample((side, side))]
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, channels, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)
