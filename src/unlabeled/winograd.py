"""3×3 convolutions of small maps by minimal filtering: a quarter to a half of the multiplications, as matrix products.

Four outputs of a row of pixels d under weights g are twelve products when computed one by one, and six as

    y = Aᵀ ((Bᵀ d) ∘ (G g))

(Winograd 1980; Lavin and Gray 2015, arXiv:1509.09308, whose names these are). On a map each matrix works on the rows
and the columns of a tile, and for each of its 6 × 6 points what was an elementwise product is one of matrices: of all
tiles by inputs, and inputs by outputs. The sums are the convolution's in another order, and in float32 their rounding
errors are up to five times as large: a millionth of the values' standard deviation.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

POINTS = (0, 1, -1, 2, -1 / 2)
"""Where the polynomials behind the matrices are evaluated, beside infinity: 2 and −2 make larger errors."""
TILES = (4, 3)
"""Outputs of a row that share their products: more would be fewer products, and larger errors."""


class Winograd(torch.autograd.Function):
    """`F.conv2d(x, weight, padding=1)` of 3×3 kernels and square maps, from 2×2 pixels on; float32, channels last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        of_input, of_filter, of_output, tiles = ctx.transforms = transforms(x.shape[2])
        inputs = to_points(of_input, x, tiles)
        filters = _each(of_filter, weight.permute(0, 2, 3, 1).flatten(1, 2))
        ctx.save_for_backward(inputs, filters)
        return from_points(of_output, torch.bmm(inputs, filters.permute(1, 2, 0)), tiles)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (inputs, filters), (of_input, of_filter, of_output, tiles) = ctx.saved_tensors, ctx.transforms
        gradients = to_points(of_output.T, gradient, tiles)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = from_points(of_input.T, torch.bmm(gradients, filters.transpose(0, 1)), tiles)
        if ctx.needs_input_grad[1]:
            products = torch.bmm(gradients.transpose(1, 2), inputs)
            of_weight = _each(of_filter.T, products.transpose(0, 1)).unflatten(1, (3, 3)).permute(0, 3, 1, 2)
        return of_x, of_weight


def to_points(matrix: Tensor, maps: Tensor, tiles: int) -> Tensor:
    """A matrix (q, n) on the rows and columns of maps: (B, C, n, n) to (q / tiles · q, B · tiles, C).

    Points are kept apart by the row within a tile and by the column of all tiles: so nothing has to be moved.
    """
    batch, channels, side, _ = maps.shape
    rows = _each(matrix, maps.permute(0, 2, 3, 1).reshape(batch, side, -1))
    columns = _each(matrix, rows.view(-1, side, channels))
    return columns.view(batch * tiles, -1, channels).transpose(0, 1)


def from_points(matrix: Tensor, points: Tensor, tiles: int) -> Tensor:
    """A matrix (n, q) on the rows and columns of points, ordered as above: to maps (B, C, n, n), channels last."""
    (side, q), (_, height, channels) = matrix.shape, points.shape
    batch = height // tiles
    columns = _each(matrix, points.view(-1, q, height * channels)).view(-1, side, batch, tiles, channels)
    rows = columns.permute(2, 3, 0, 1, 4).reshape(batch, q, side * channels)
    shape, kind = (batch, channels, side, side), {"dtype": points.dtype, "device": points.device}
    maps = torch.empty(shape, **kind, memory_format=torch.channels_last)  # no view: autograd lets nobody change one
    torch.bmm(matrix.expand(batch, -1, -1), rows, out=maps.permute(0, 2, 3, 1).view(batch, side, -1))
    return maps


def _each(matrix: Tensor, others: Tensor) -> Tensor:
    """The matrix times each of (N, …, …)."""
    return torch.bmm(matrix.expand(len(others), -1, -1), others)


@cache
def transforms(side: int) -> tuple[Tensor, Tensor, Tensor, int]:
    """Bᵀ (q, n) and Aᵀ (n, q) of a padded row of n pixels, G ⊗ G (q / tiles · q, 9) between them, and how many tiles.

    A row of two is shorter than its filter: they change places, and q is 3 instead of 4.
    """
    if side == 2:
        of_filter, of_input, of_output = cook_toom(2, 2)
        tiles, of_filters, of_output = 1, np.kron(of_filter, of_filter), of_output[::-1]
    else:
        tile = min(TILES, key=lambda tile: -(-side // tile) * (tile + 2))
        tiles = -(-side // tile)
        of_tile, of_filter, of_output = cook_toom(tile, 3)
        pixels = np.eye(tiles * tile + 2)
        windows = [pixels[first : first + tile + 2] for first in range(0, tiles * tile, tile)]
        of_input = np.concatenate([of_tile @ window for window in windows])[:, 1 : side + 1]
        of_filters = np.kron(of_filter, np.tile(of_filter, (tiles, 1)))
        of_output = np.kron(np.eye(tiles), of_output)[:side]
    matrices = (torch.from_numpy(each.astype(np.float32)) for each in (of_input, of_filters, of_output))
    return *matrices, tiles


def cook_toom(outputs: int, taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bᵀ (q, q), G (q, taps) and Aᵀ (outputs, q) of a filter without padding, q = outputs + taps − 1."""
    q = outputs + taps - 1

    def evaluation(terms: int) -> np.ndarray:
        """Of a polynomial's coefficients at the points; at infinity it is the last of them."""
        return np.vstack([np.vander(POINTS[: q - 1], terms, increasing=True), np.eye(terms)[-1:]])

    return np.linalg.inv(evaluation(q)).T, evaluation(taps), evaluation(outputs).T
