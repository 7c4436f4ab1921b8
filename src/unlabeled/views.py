"""The crop cache, and the batches of views that training draws from it."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from unlabeled import augment
from unlabeled.arrays import ArrayWriter
from unlabeled.augment import cut_views, finish
from unlabeled.config import Augmentation
from unlabeled.encoders import Normalisation
from unlabeled.progress import bar
from unlabeled.reuse import MADE_BY, EarlierRows, checksum, earlier_rows, made_by

logger = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 2**20
"""Of floats that a chunk of the cache needs while it is made."""


def cache_views(images: np.ndarray, contents: Sequence[str], recipe: Augmentation, path: Path) -> pd.DataFrame:
    """Writes K random views an image (resized crops, moved) to `path`, in memory that does not grow with N.

    The views of an image follow from its content and the recipe alone. Those that `path` has of the same content, made
    in the same way, are taken over, by the index beside it.

    Args:
        images: uint8 of shape (N, C, H, W), any split: row i of the cache is row i of the images.
        contents: The sha256 of each image's content, hexadecimal.
        recipe: Its `views` is K; with `fresh` an empty cache is written.
        path: Becomes an uint8 array of shape (N, K, C, h, w).

    Returns:
        The index, to be kept as `path` with the ending .parquet: the content and the checksum of each row.
    """
    n, channels, height, width = images.shape
    size = recipe.crop_size or height
    count = 0 if recipe.views == "fresh" else recipe.views
    shape = (count, channels, size, size)
    # Floats of an image, of its K half-finished crops (at full height, twice), of their weights, and of the crops.
    floats = count * size * (2 * channels * height + height + width + 3 * channels * size)
    chunk = max(1, CHUNK_BYTES // (4 * (channels * height * width + floats)))
    how = made_by([augment], shape=images.shape[1:], torch=torch.__version__, **recipe.geometry())
    earlier = earlier_rows(path, path.with_suffix(".parquet"), how, shape)
    checksums: list[int] = []
    buffer = np.empty((min(chunk, n), *shape), np.uint8)
    with ArrayWriter(path, shape) as writer, bar("caching views", n, "images") as progress:
        for start in range(0, n if count else 0, chunk):
            rows = slice(start, start + chunk)
            views = buffer[: len(images[rows])]
            checksums += _fill(views, images[rows], contents[rows], recipe, earlier)
            writer.append(views)
            progress.advance(len(views))
    if earlier and earlier.damaged:
        logger.warning("the crops of %d images were damaged, and have been cut again", earlier.damaged)
    index = pd.DataFrame({"sha256": contents[: len(checksums)], "checksum": np.array(checksums, np.uint32)})
    index.attrs[MADE_BY] = how
    return index


def _fill(
    views: np.ndarray,
    images: np.ndarray,
    contents: Sequence[str],
    recipe: Augmentation,
    earlier: EarlierRows | None,
) -> list[int]:
    """Puts the views of a chunk into an array (n, K, C, h, w), taken over or cut; their checksums."""
    checksums, missing = [0] * len(contents), []
    for row, content in enumerate(contents):
        taken = earlier.take(content, views[row]) if earlier else None
        if taken is None:
            missing.append(row)
        else:
            checksums[row] = taken
    if missing:
        draw = np.stack([_draws(contents[row], views.shape[1], recipe.seed) for row in missing], 1)
        cut = cut_views(torch.from_numpy(images[missing]).float(), torch.from_numpy(draw), recipe)
        views[missing] = cut.round_().clamp_(0, 255).byte().numpy()
        for row in missing:
            checksums[row] = checksum(views[row])
    return checksums


def _draws(content: str, count: int, seed: int) -> np.ndarray:
    """Uniform numbers (DRAWS, count) that follow from the content of an image."""
    generator = np.random.Generator(np.random.Philox(key=[int(content[-16:], 16), seed]))
    return generator.random((augment.DRAWS, count), np.float32)


def step_seed(seed: int, *counters: int) -> int:
    """An independent seed for each (epoch or step): nothing has to be remembered to resume."""
    return int(np.random.SeedSequence([seed, *counters]).generate_state(1, np.uint64)[0] >> 1)


class Views:
    """Batches of V views an image; batch `step` is a pure function of (seed, step).

    Args:
        store: uint8, cached crops of shape (N, K, C, h, w), or whole images of shape (N, C, H, W) to crop afresh.
        rows: Which of the N to train on, int64.
        recipe: How views are finished, and cropped where they are fresh.
        normalisation: Of the training images.
        count: V.
        batch_size: B; the last, incomplete batch of an epoch is left out.
        seed: Of everything drawn.
        device: Where views are finished.
        targets: Classes of the N images, int64, where the method eats labels.
    """

    def __init__(
        self,
        store: np.ndarray,
        rows: np.ndarray,
        recipe: Augmentation,
        normalisation: Normalisation,
        *,
        count: int,
        batch_size: int,
        seed: int,
        device: torch.device,
        targets: np.ndarray | None = None,
    ):
        self.rows = torch.from_numpy(np.asarray(rows, np.int64))
        self.recipe, self.count, self.batch_size, self.seed, self.device = recipe, count, batch_size, seed, device
        self.mean, self.std = normalisation.tensors(device)
        self.steps_per_epoch = len(rows) // batch_size
        self._store = _resident(store, device)
        self._targets = None if targets is None else torch.from_numpy(targets).to(device)
        self._generator = torch.Generator(device)
        self._order: tuple[int, Tensor] | None = None

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """What the method eats at a step, on the device.

        Returns:
            Views of shape (V·B, C, h, w), view by view: float32, normalised, channels_last. With targets, these too:
            int64 of shape (B,).
        """
        rows = self.rows_of(step)
        self._generator.manual_seed(step_seed(self.seed, 1, step))
        views = self._cached(rows) if self._store.ndim == 5 else self._fresh(rows)
        views = finish(views, self.count, self.recipe, self._generator, self.mean, self.std)
        return (views,) if self._targets is None else (views, self._targets[rows.to(self.device)])

    def rows_of(self, step: int) -> Tensor:
        """Which images the batch of a step shows: rows of the store, int64 of shape (B,)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            order = torch.Generator().manual_seed(step_seed(self.seed, 0, epoch))
            rows = self.rows[torch.randperm(len(self.rows), generator=order)]
            self._order = epoch, rows.to(self._store.device)
        return self._order[1][position * self.batch_size : (position + 1) * self.batch_size]

    def _cached(self, rows: Tensor) -> Tensor:
        """V different ones of the K crops of each image."""
        draw = torch.rand(len(rows), self._store.shape[1], generator=self._generator, device=self.device)
        picked = draw.topk(self.count, dim=1).indices.T.flatten()
        rows = rows.repeat(self.count)
        return self._to_device(self._store[rows, picked.to(rows.device)])

    def _fresh(self, rows: Tensor) -> Tensor:
        images = self._to_device(self._store[rows]).float()
        shape = (augment.DRAWS, len(images), self.count)
        draw = torch.rand(shape, generator=self._generator, device=self.device)
        return cut_views(images, draw, self.recipe).transpose(0, 1).flatten(0, 1)

    def _to_device(self, batch: Tensor) -> Tensor:
        if self.device.type == "cuda" and batch.device.type == "cpu":
            batch = batch.pin_memory()
        return batch.to(self.device, non_blocking=self.device.type == "cuda")  # MPS would read before it is written


def _resident(store: np.ndarray, device: torch.device) -> Tensor:
    """The array on a GPU where it takes less than a quarter of what is free there, else a view of the memory map."""
    with warnings.catch_warnings():
        # The map is read-only and only read from, which torch cannot express.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(store)
    if device.type == "cuda" and tensor.nbytes < torch.cuda.mem_get_info(device)[0] / 4:
        return tensor.to(device)
    return tensor
