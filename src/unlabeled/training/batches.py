"""Batches of a training: their interface to the loop, their order, and the seeds of random draws."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Supply(Protocol):
    """Interface between the data and the training loop.

    Attributes:
        unit: Name of the items of a batch in the plural.
    """

    unit: str
    device: torch.device
    steps_per_epoch: int
    batch_size: int

    def batch(self, step: int) -> tuple[object, ...]:
        """The arguments of the method at a step, on the device: a pure function of the step."""
        ...


def step_seed(seed: int, *counters: int) -> int:
    """An independent seed for each epoch or step, so that resuming needs no stored state."""
    return int(np.random.SeedSequence([seed, *counters]).generate_state(1, np.uint64)[0] >> 1)


class Order:
    """Order of the rows: a permutation for each epoch, which depends only on the seed.

    Args:
        rows: Rows to draw from, int64.
        batch_size: Rows of a batch (B); the last, incomplete batch of an epoch is left out.
    """

    def __init__(self, rows: np.ndarray, batch_size: int, seed: int, device: torch.device | str = "cpu"):
        self.rows = torch.from_numpy(np.asarray(rows, np.int64))
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.steps_per_epoch = len(rows) // batch_size
        self._epoch: tuple[int, Tensor] | None = None

    def at(self, step: int) -> Tensor:
        """The rows of the batch of a step, int64 of shape (B,)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            order = torch.Generator().manual_seed(step_seed(self.seed, 0, epoch))
            shuffled = self.rows[torch.randperm(len(self.rows), generator=order)]
            self._epoch = epoch, shuffled.to(self.device)
        return self._epoch[1][position * self.batch_size : (position + 1) * self.batch_size]
