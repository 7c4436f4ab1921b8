"""Batches of views for training, from the crop cache or cropped afresh."""

import warnings

import numpy as np
import torch
from torch import Tensor

from unlabeled.config import Augmentation
from unlabeled.images import augment
from unlabeled.images.augment import cut_views, finish
from unlabeled.images.encoder import Normalisation
from unlabeled.storage.arrays import Rows
from unlabeled.training.batches import Order, step_seed


class Views:
    """Batches with V views of each image; batch `step` is a pure function of (seed, step).

    Args:
        store: uint8, cached crops of shape (N, K, C, h, w), or whole images of shape (N, C, H, W) to crop afresh.
        rows: The rows to train on, int64.
        recipe: Augmentation by which views are finished, and cropped where they are fresh.
        normalisation: Mean and standard deviation of the images that are not test images.
        count: Number of views of each image (V).
        batch_size: Images of a batch (B); the last, incomplete batch of an epoch is left out.
        seed: Seed of all random draws.
        device: Device on which views are finished.
        targets: Classes of the N images, int64, for a supervised method; None otherwise.
    """

    unit = "images"

    def __init__(
        self,
        store: np.ndarray | Rows,
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
        self.recipe, self.count, self.batch_size, self.seed, self.device = recipe, count, batch_size, seed, device
        self.mean, self.std = normalisation.tensors(device)
        self._store = _resident(store, device)
        self._order = Order(rows, batch_size, seed, self._store.device if isinstance(self._store, Tensor) else "cpu")
        self.steps_per_epoch = self._order.steps_per_epoch
        self._targets = None if targets is None else torch.from_numpy(targets).to(device)
        self._generator = torch.Generator(device)

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """The input of the method at a step, on the device.

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
        """The images of a step's batch: rows of the store, int64 of shape (B,)."""
        return self._order.at(step)

    def _cached(self, rows: Tensor) -> Tensor:
        """Takes V different crops, drawn at random, of the K of each image."""
        draw = torch.rand(len(rows), self._store.shape[1], generator=self._generator, device=self.device)
        picked = draw.topk(self.count, dim=1).indices.T.flatten()
        rows = rows.repeat(self.count)
        return self._taken(rows, picked.to(rows.device))

    def _fresh(self, rows: Tensor) -> Tensor:
        images = self._taken(rows).float()
        shape = (augment.DRAWS, len(images), self.count)
        draw = torch.rand(shape, generator=self._generator, device=self.device)
        return cut_views(images, draw, self.recipe).transpose(0, 1).flatten(0, 1)

    def _taken(self, *index: Tensor) -> Tensor:
        """The entries of the store at an index, on the device."""
        if isinstance(self._store, Tensor):
            return self._store[index]
        batch = torch.from_numpy(self._store[tuple(each.numpy() for each in index)])
        if self.device.type == "cuda":
            return batch.pin_memory().to(self.device, non_blocking=True)
        return batch.to(self.device)  # not asynchronously: MPS would read before it is written


def _resident(store: np.ndarray | Rows, device: torch.device) -> np.ndarray | Rows | Tensor:
    """The store on the GPU where it takes less than a quarter of the free memory there, else unchanged."""
    if device.type != "cuda" or store.nbytes >= torch.cuda.mem_get_info(device)[0] / 4:
        return store
    with warnings.catch_warnings():
        # The map is read-only, which torch cannot express; it is never written to.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(store[:]).to(device)
