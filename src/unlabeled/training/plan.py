"""Plan of a training, printed before it begins: its time, by a few steps of the real model, its disk and its memory."""

import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch

from unlabeled.config import Pretraining
from unlabeled.errors import UnlabeledError
from unlabeled.method import Method
from unlabeled.runtime.counts import duration
from unlabeled.storage import checkpoint
from unlabeled.training.batches import Supply
from unlabeled.training.loop import pretrain

MIN_REPORTED_SECONDS = 60
"""Largest duration, in seconds, of a training whose plan is not printed."""
MIN_LONG_SECONDS = 600
"""Duration, in seconds, from which a plan suggests how to make the training shorter."""
QUICK_STEP_SECONDS = 0.5
"""Seconds of a step below which more steps are timed."""
TIMED_STEPS, TIMED_QUICK_STEPS = 2, 8
"""Number of steps that are timed, and of quick steps; the first one, which includes preparations, is not counted."""
MIN_COMPARED_STEPS = 200
"""Number of steps from which it is worthwhile to time alternatives that would make the training shorter."""
MIN_SPEEDUP = 1.3
"""Least speed-up of a change that is suggested."""
MAX_MEMORY_SHARE = 0.8
"""Fraction of the machine's memory above which a training is likely to be killed."""


class Pace(NamedTuple):
    """Time and memory of a step of a training.

    Attributes:
        seconds: Duration of a step.
        memory: Peak memory in bytes of the process, or of the GPU that trains.
    """

    seconds: float
    memory: int


@dataclass(frozen=True)
class Plan:
    """The cost of a training. All sizes are in bytes, all times in seconds.

    Attributes:
        steps: Remaining steps, without those of a checkpoint.
        batch_size: Size of a batch, in `unit`.
        epochs: Epochs in total.
        pace: Time and memory of a step on this machine.
        available: Memory of the machine, or of the GPU.
        cutting: Time to cut the missing crops.
        crops: Size of the missing crops on disk.
        free: Free space on their disk.
        shorter: Speed-up of a step by a change of a parameter, by `key=value`.
        gpu: Whether a GPU trains.
    """

    steps: int
    batch_size: int
    unit: str
    epochs: int
    pace: Pace
    available: int
    cutting: float = 0.0
    crops: int = 0
    free: int = 0
    shorter: dict[str, float] = field(default_factory=dict)
    gpu: bool = False

    @property
    def seconds(self) -> float:
        return self.cutting + self.steps * self.pace.seconds

    def lines(self) -> Iterator[str]:
        """The plan in a few sentences; none for a short training."""
        if self.seconds < MIN_REPORTED_SECONDS:
            return
        crops = f"; {_size(self.crops)} of crops on disk ({_size(self.free)} free)" if self.crops else ""
        cutting = f", {duration(self.cutting)} of it for the crops" if self.cutting > MIN_REPORTED_SECONDS else ""
        yield (
            f"plan: {self.steps:,} steps of {self.batch_size} {self.unit}, about {duration(self.seconds)} on this "
            f"{'GPU' if self.gpu else 'machine'}{cutting}{crops}; {_size(self.pace.memory)} of memory at most, of "
            f"{_size(self.available)}"
        )
        if self.seconds > MIN_LONG_SECONDS:
            ways = [f"{change} (about {duration(seconds)})" for change, seconds in self.ways().items()]
            yield f"shorter: {', '.join(ways + ([] if self.gpu else ['a GPU']))}"

    def warning(self) -> str | None:
        """Advice where the memory is likely not to suffice; else None."""
        if self.pace.memory <= MAX_MEMORY_SHARE * self.available:
            return None
        return (
            f"a step needs {_size(self.pace.memory)} of memory, and there are {_size(self.available)}: lower "
            f"pretraining.batch_size or augmentation.crop_size, or choose a smaller pretraining.encoder"
        )

    def ways(self) -> dict[str, float]:
        """Total duration with one parameter changed, by `key=value`."""
        training = self.steps * self.pace.seconds
        fewer = max(1, self.epochs // 10)
        ways = {f"pretraining.epochs={fewer}": self.cutting + training * fewer / self.epochs}
        changed = {change: self.cutting + training / factor for change, factor in self.shorter.items()}
        return ways | {change: seconds for change, seconds in changed.items() if self.seconds > MIN_SPEEDUP * seconds}


class _Epochs:
    """A supply in which each step is an epoch, so that the loop reports the time of each."""

    steps_per_epoch = 1

    def __init__(self, supply: Supply):
        self.unit, self.device, self.batch_size = supply.unit, supply.device, supply.batch_size
        self._supply = supply

    def batch(self, step: int) -> tuple[object, ...]:
        return self._supply.batch(step)


def pace_of(method: Method, supply: Supply, config: Pretraining) -> Pace:
    """Times steps of the training loop on `method`, which they modify: pass a copy, or one made for this purpose."""

    def timed(steps: int) -> list[float]:
        harmless = {"epochs": steps, "learning_rate": 1e-12, "compile": False}
        history = pretrain(method, _Epochs(supply), config.model_copy(update=harmless), title="timing steps")
        return [supply.batch_size / row[f"{supply.unit}_per_second"] for row in history]

    seconds = median(timed(TIMED_STEPS)[1:])
    if seconds < QUICK_STEP_SECONDS:
        seconds = median(timed(TIMED_QUICK_STEPS)[1:])
    return Pace(seconds, _peak_memory(supply.device))


def faster(pace: Pace, changes: dict[str, Callable[[], Pace]]) -> dict[str, float]:
    """Speed-up of a step by each of the changes; changes that fail are left out."""
    factors = {}
    for change, pace_with in changes.items():
        with suppress(UnlabeledError, ValueError, RuntimeError):  # the change does not fit the method or the images
            factors[change] = pace.seconds / pace_with().seconds
    return factors


def steps_left(steps: int, resume: Path | None, fingerprint: str) -> int:
    """Number of steps that a checkpoint of the same training has not done yet."""
    if resume is None or not resume.exists():
        return steps
    state = checkpoint.load(resume)
    return steps - state["step"] * (state["fingerprint"] == fingerprint)


def available_memory(device: torch.device) -> int:
    """Memory in bytes of the GPU, of the machine, or of the container that this process is in."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroups of version 2 and 1
        with suppress(OSError, ValueError):  # "max": no limit
            limits.append(int(Path("/sys/fs/cgroup", name).read_text()))
    return min(limits)


def free_disk(folder: Path) -> int:
    """Free bytes on the disk of a folder, which may not exist yet."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
