"""History of a training: its losses, and one row of metrics for each epoch."""

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unlabeled.config import Pretraining
from unlabeled.method import Method
from unlabeled.runtime.counts import counted
from unlabeled.training.batches import Supply
from unlabeled.training.collapse import check_finite, check_not_collapsed, spreads_of

logger = logging.getLogger(__name__)

Report = Callable[[dict[str, float], int], None]
Monitor = Callable[[Method], dict[str, float]]
LOOK_EVERY = 50
"""Steps between two readings of the losses on a GPU, which each reading waits for."""


class History:
    """The training so far: `step`, the number of completed steps, and `rows`, one for each epoch.

    Args:
        monitor: Measures the method every `config.monitor_every` epochs and at the end.
        report: Called with a row's metrics and the number of its epoch.
    """

    def __init__(self, supply: Supply, config: Pretraining, monitor: Monitor | None, report: Report | None):
        self.step, self.rows = 0, []
        self.steps = config.epochs * supply.steps_per_epoch
        self.warmup = min(round(config.warmup_epochs * supply.steps_per_epoch), self.steps // 2)
        self._supply, self._config, self._monitor, self._report = supply, config, monitor, report
        self._look_every = 1 if supply.device.type == "cpu" else LOOK_EVERY
        self._losses: list[float] = []  # losses of this epoch
        self._pending: list[Tensor] = []  # losses that have not been read yet
        self._untrained: dict[str, float] | None = None
        self._started = self._began = time.perf_counter()
        self._timed = 0

    def begin(self, state: dict[str, Any], method: Method) -> None:
        """Resumes from the state in a checkpoint; an empty state starts from the beginning."""
        if state:
            self.step, self.rows, self._losses = state["step"], state["history"], state["losses"]
            earlier = self.rows[-1]["seconds"] if self.rows else 0.0
            self._started -= max(state["seconds"], earlier)  # an earlier release wrote the seconds of the epoch
            self._untrained = state.get("untrained_spread")
        if self._monitor and self._untrained is None:
            spreads = spreads_of(self._monitor(method))
            self._untrained = {f"untrained_{name}": value for name, value in spreads.items()}
        for row in self.rows:
            self._tell(row)
        self._began = time.perf_counter()

    @property
    def is_complete(self) -> bool:
        return self.step == self.steps

    @property
    def is_settled(self) -> bool:
        """Whether every loss has been read."""
        return not self._pending

    def add(self, loss: Tensor, rate: float, method: Method) -> None:
        """Adds the loss of a step at a learning rate and, after the last step of an epoch, a row.

        Raises:
            TrainingError: A loss is not finite, or the embedding has collapsed.
        """
        self.step, self._timed = self.step + 1, self._timed + 1
        self._pending.append(loss)
        ends = self.step % self._supply.steps_per_epoch == 0
        if ends or len(self._pending) == self._look_every:
            self._losses += torch.stack(self._pending).tolist()
            check_finite(self._losses, self.step, rate)
            self._pending.clear()
        if ends:
            self.rows.append(self._row(rate, method))
            self._tell(self.rows[-1])
            self._losses, self._timed, self._began = [], 0, time.perf_counter()

    def pause(self, seconds: float) -> None:
        """Excludes seconds from the rate of this epoch's steps."""
        self._began += seconds

    def note(self) -> str:
        """The last row in a few words, to be appended to other text; empty before the first."""
        return summary_of(self.rows[-1], self._supply.unit) if self.rows else ""

    def state(self) -> dict[str, Any]:
        """The part of a checkpoint that restores the history."""
        seconds = time.perf_counter() - self._started
        state = {"step": self.step, "history": self.rows, "losses": self._losses, "seconds": seconds}
        return {**state, "untrained_spread": self._untrained}

    def _row(self, rate: float, method: Method) -> dict[str, float]:
        now, epoch, unit = time.perf_counter(), self.step // self._supply.steps_per_epoch, self._supply.unit
        row = {"epoch": epoch, "loss": sum(self._losses) / len(self._losses), "learning_rate": rate}
        row[f"{unit}_per_second"] = self._timed * self._supply.batch_size / (now - self._began)
        row["seconds"] = now - self._started
        row |= method.gauges()
        if self._monitor and (epoch % self._config.monitor_every == 0 or self.is_complete):
            row |= self._monitor(method) | (self._untrained or {})
            looks = [each for each in self.rows if each["epoch"] * self._supply.steps_per_epoch > self.warmup]
            check_not_collapsed(row, looks, self.step, rate, self._config)
            row["seconds"] = time.perf_counter() - self._started
        return row

    def _tell(self, row: dict[str, float]) -> None:
        if self._report:
            self._report({name: value for name, value in row.items() if name != "epoch"}, int(row["epoch"]))


def tell(rows: list[dict[str, float]], unit: str) -> None:
    """Logs the outcome of a training, from its history."""
    last = rows[-1]
    epochs = counted(int(last["epoch"]), "epochs")
    logger.info("trained for %s in %.0f s%s", epochs, last["seconds"], summary_of(last, unit))


def summary_of(row: dict[str, float], unit: str) -> str:
    """A row in a few words, to be appended to other text."""
    knn = f" · kNN {row['knn_accuracy']:.1%}" if "knn_accuracy" in row else ""
    return f" · loss {row['loss']:.3f} · {row[f'{unit}_per_second']:,.0f} {unit}/s{knn}"
