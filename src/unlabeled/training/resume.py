"""The checkpoint from which an interrupted training resumes."""

import logging
import time
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from unlabeled.method import Method
from unlabeled.storage import checkpoint
from unlabeled.training.optimizers import restore

logger = logging.getLogger(__name__)

CHECKPOINT_SHARE = 0.02
"""Largest fraction of the training time spent writing checkpoints; large ones are written less often."""


class Checkpoints:
    """The checkpoint of one training.

    Args:
        path: File of the checkpoint; None: none is written.
        fingerprint: Digest of everything that decides the weights; a checkpoint with another one is not resumed.
        every: Least number of seconds between two checkpoints.
    """

    def __init__(self, path: Path | None, fingerprint: str, every: float):
        self._path, self._fingerprint, self._every, self._spacing = path, fingerprint, every, every
        self._saved = time.perf_counter()

    def load(self, method: Method, optimizer: Optimizer) -> dict[str, Any]:
        """Loads the checkpoint into `method` and `optimizer`, and returns the rest of it; empty if there is none that
        fits."""
        path = self._path
        if path is None or not path.exists():
            return {}
        state = checkpoint.load(path)
        if state["fingerprint"] != self._fingerprint:
            logger.info("the checkpoint %s is of other data or parameters: training from the beginning", path)
            return {}
        if _shapes(state["method"]) != _shapes(method.state_dict()):
            logger.info("the checkpoint %s is of a network of other code: training from the beginning", path)
            return {}
        method.load_state_dict(state["method"])
        restore(optimizer, state["optimizer"])
        logger.info("resuming after step %d, from %s", state["step"], path)
        if state.get("threads", torch.get_num_threads()) != torch.get_num_threads():
            logger.warning(
                "%d threads began this training and %d go on with it: on a CPU its weights will differ in their last "
                "bits from those of a training by %d throughout (OMP_NUM_THREADS)",
                *(state["threads"], torch.get_num_threads(), state["threads"]),
            )
        return state

    def is_due(self) -> bool:
        return self._path is not None and time.perf_counter() - self._saved >= self._spacing

    def save(self, state: dict[str, Any], method: Method, optimizer: Optimizer) -> float:
        """Writes the checkpoint atomically, and returns the seconds that it took."""
        if self._path is None:
            return 0.0
        began = time.perf_counter()
        weights = {"method": method.state_dict(), "optimizer": optimizer.state_dict()}
        origin = {"fingerprint": self._fingerprint, "threads": torch.get_num_threads()}
        checkpoint.save(self._path, {**state, **weights, **origin})
        self._saved = time.perf_counter()
        if self._spacing:
            self._spacing = max(self._every, (self._saved - began) / CHECKPOINT_SHARE)
        return self._saved - began


def _shapes(weights: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}
