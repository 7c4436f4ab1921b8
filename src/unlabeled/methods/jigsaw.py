"""Jigsaw: cut an image into tiles, shuffle them, and recognise the permutation among a fixed set.

    L = −log p_y(tiles in the order of permutation y)

(Noroozi & Favaro 2016, arXiv:1603.09246, sections 3.2 and 3.3). The permutations are chosen for their Hamming distance
from each other, as there. So that no edge or colour gives the answer away, each tile is cut at a random place within
its cell, away from the cell's edges, and normalised by itself. The encoder sees a tile at about the scale at which it
will see whole images: stretched to the side of its cell, and to a multiple of a ViT's patch.
"""

from functools import cache
from itertools import permutations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.config import Count
from unlabeled.images.augment import resample
from unlabeled.method import Method
from unlabeled.nn.network import ImageNetwork
from unlabeled.training.constants import check_range

MIN_CELL_SIDE = 4
"""Smallest side of a cell, in pixels; smaller cells have no recognisable content."""
TILE_SHARE = 0.8
"""Fraction of a cell's side that its tile covers."""


@cache
def distant_permutations(tiles: int, count: int) -> np.ndarray:
    """Permutations far from each other: each next one maximises the Hamming distance to its nearest predecessor.

    Returns:
        int64 of shape (min(count, tiles!), tiles), the same at each call.
    """
    candidates = np.array(list(permutations(range(tiles))), dtype=np.int8)
    chosen = [0]
    nearest = np.full(len(candidates), tiles + 1)
    while len(chosen) < min(count, len(candidates)):
        nearest = np.minimum(nearest, (candidates != candidates[chosen[-1]]).sum(1))
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return candidates[chosen].astype(np.int64)


class Jigsaw(Method):
    """Args:
    encoder: (B, C, H, W) to (B, D), with D in its attribute `feature_dim`.
    grid: Tiles a side.
    permutations: Largest number of permutations in the set.
    hidden_dim: Hidden width of the head that sees all tiles of an image.
    """

    views = 1

    def __init__(self, encoder: ImageNetwork, *, grid: Count = 3, permutations: Count = 100, hidden_dim: Count = 1024):
        super().__init__()
        check_range("grid", grid, 2, 3)
        check_range("permutations", permutations, 2, 10_000)
        if encoder.image_size // grid < MIN_CELL_SIDE:
            raise ValueError(
                f"grid: received {grid}, which leaves tiles of {encoder.image_size // grid} pixels in images of "
                f"{encoder.image_size}, expected {MIN_CELL_SIDE} at least"
            )
        self.encoder, self.grid = encoder, grid
        patch = getattr(encoder, "patch_size", 1)
        self.side = max(1, round(encoder.image_size / grid / patch)) * patch
        orders = torch.from_numpy(distant_permutations(grid**2, permutations)).to(torch.get_default_device())
        self.permutations = nn.Buffer(orders)
        self.head = nn.Sequential(
            nn.Linear(grid**2 * encoder.feature_dim, hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, len(self.permutations)),
        )

    def forward(self, batch: Tensor) -> Tensor:
        """Cross entropy over the permutations for one view, shape (B, C, h, w)."""
        tiles = self.cut(batch)
        which = torch.randint(len(self.permutations), (len(batch),), device=batch.device)
        return F.cross_entropy(self.solve(tiles, self.permutations[which]), which)

    def solve(self, tiles: Tensor, orders: Tensor) -> Tensor:
        """Logits of the permutations, (B, permutations), for tiles shown in the given orders, (B, grid²)."""
        shuffled = tiles.gather(1, orders[:, :, None, None, None].expand_as(tiles))
        features = self.encoder(shuffled.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        return self.head(features.reshape(len(tiles), -1)).float()

    def illustrate(self, images: Tensor) -> dict[str, Tensor]:
        orders = self.permutations[torch.arange(len(images), device=images.device) % len(self.permutations)]
        answers = self.permutations[self.solve(self.cut(images), orders).argmax(1)]
        shuffled = self.rearrange(images, orders)
        return {
            "image": images,
            "shuffled": shuffled,
            "put back by its answer": self.rearrange(shuffled, answers.argsort(1)),
        }

    def rearrange(self, images: Tensor, orders: Tensor) -> Tensor:
        """Images whose cell i shows cell `orders[i]`; pixels outside of all cells stay unchanged."""
        grid, cell = self.grid, images.shape[-1] // self.grid
        covered = images[..., : grid * cell, : grid * cell]
        cells = covered.unflatten(3, (grid, cell)).unflatten(2, (grid, cell)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        moved = cells.gather(1, orders[:, :, None, None, None].expand_as(cells))
        whole = images.clone()
        whole[..., : grid * cell, : grid * cell] = (
            moved.unflatten(1, (grid, grid)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        )
        return whole

    def cut(self, batch: Tensor) -> Tensor:
        """The normalised tiles of images (B, C, S, S), row by row: (B, grid², C, side, side)."""
        tiles, cell = self.grid**2, batch.shape[-1] // self.grid
        tile = int(TILE_SHARE * cell)
        index = torch.arange(tiles, device=batch.device)
        corner = torch.stack([index // self.grid, index % self.grid], 1) * cell
        # From torch's own generator, which the loop seeds at each step.
        place = corner + torch.randint(cell - tile + 1, (len(batch), tiles, 2), device=batch.device)
        boxes = torch.cat([place, torch.full_like(place, tile)], 2).float()
        # Cut whole pixels before scaling up, so that no pixel outside the tile contributes.
        cut = F.interpolate(resample(batch, boxes, tile).flatten(0, 1), (self.side, self.side), mode="bilinear")
        cut = cut.unflatten(0, (len(batch), tiles))
        mean, std = cut.mean((3, 4), keepdim=True), cut.std((3, 4), keepdim=True)
        return (cut - mean) / (std + 0.1)
