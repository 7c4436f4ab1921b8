"""What a training will take, said before it begins: time by a few steps of the real model, disk, and memory."""

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
from unlabeled.storage import checkpoint
from unlabeled.training.batches import Supply
from unlabeled.training.loop import pretrain

SILENT = 60
"""Seconds up to which a plan is not worth a word."""
LONG = 600
"""Seconds from which on a plan says what would make it shorter."""
QUICK = 0.5
"""Seconds of a step below which more of them are timed."""
FEW, MORE = 2, 8
"""Steps that are timed, and of quick ones; the first, which prepares others, is not counted."""
MANY = 200
"""Steps from which on a few more, to see what would make a training shorter, cost nothing beside it."""
WORTH = 1.3
"""How many times as fast a change has to make a training to be told."""
FULL = 0.8
"""Share of the machine's memory from which on a training is likely to be killed."""


class Pace(NamedTuple):
    """What a step of a training takes.

    Attributes:
        seconds: Of a step.
        memory: Bytes at most, of the process, or of the GPU that trains.
    """

    seconds: float
    memory: int


@dataclass(frozen=True)
class Plan:
    """What lies before a training. All sizes are in bytes, all times in seconds.

    Attributes:
        steps: That are left: those of a checkpoint are done.
        batch_size: Of a step, in `unit`.
        epochs: In all.
        pace: Of a step on this machine.
        available: Memory of the machine, or of the GPU.
        cutting: Time to cut the crops that are not there yet.
        crops: Disk that these take.
        free: Of the disk that they lie on.
        shorter: How many times as fast a change of a parameter would make a step, by `key=value`.
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
        """The plan in a few sentences; none for what is over soon."""
        if self.seconds < SILENT:
            return
        crops = f"; {_size(self.crops)} of crops on disk ({_size(self.free)} free)" if self.crops else ""
        cutting = f", {_time(self.cutting)} of it for the crops" if self.cutting > SILENT else ""
        yield (
            f"plan: {self.steps:,} steps of {self.batch_size} {self.unit}, about {_time(self.seconds)} on this "
            f"{'GPU' if self.gpu else 'machine'}{cutting}{crops}; {_size(self.pace.memory)} of memory at most, of "
            f"{_size(self.available)}"
        )
        if self.seconds > LONG:
            ways = [f"{change} (about {_time(seconds)})" for change, seconds in self.ways().items()]
            yield f"shorter: {', '.join(ways + ([] if self.gpu else ['a GPU']))}"

    def warning(self) -> str | None:
        """What to change where the memory is likely not to suffice."""
        if self.pace.memory <= FULL * self.available:
            return None
        return (
            f"a step needs {_size(self.pace.memory)} of memory, and there are {_size(self.available)}: lower "
            f"pretraining.batch_size or augmentation.crop_size, or choose a smaller pretraining.encoder"
        )

    def ways(self) -> dict[str, float]:
        """How long it would take in all with one parameter changed, by `key=value`."""
        training = self.steps * self.pace.seconds
        fewer = max(1, self.epochs // 10)
        ways = {f"pretraining.epochs={fewer}": self.cutting + training * fewer / self.epochs}
        changed = {change: self.cutting + training / factor for change, factor in self.shorter.items()}
        return ways | {change: seconds for change, seconds in changed.items() if self.seconds > WORTH * seconds}


class _Epochs:
    """A supply in which each step is an epoch, so that the loop tells the time of each."""

    steps_per_epoch = 1

    def __init__(self, supply: Supply):
        self.unit, self.device, self.batch_size = supply.unit, supply.device, supply.batch_size
        self._supply = supply

    def batch(self, step: int) -> tuple[object, ...]:
        return self._supply.batch(step)


def pace_of(method: Method, supply: Supply, config: Pretraining) -> Pace:
    """Times steps of the training loop on `method`, which they change: a copy, or one that is made for it."""

    def timed(steps: int) -> list[float]:
        harmless = {"epochs": steps, "learning_rate": 1e-12, "compile": False}
        history = pretrain(method, _Epochs(supply), config.model_copy(update=harmless), title="timing steps")
        return [supply.batch_size / row[f"{supply.unit}_per_second"] for row in history]

    seconds = median(timed(FEW)[1:])
    if seconds < QUICK:
        seconds = median(timed(MORE)[1:])
    return Pace(seconds, _peak_memory(supply.device))


def faster(pace: Pace, changes: dict[str, Callable[[], Pace]]) -> dict[str, float]:
    """How many times as fast a step is with each of the changes; those that cannot be made are left out."""
    factors = {}
    for change, pace_with in changes.items():
        with suppress(UnlabeledError, ValueError, RuntimeError):  # it does not fit the method, or the images
            factors[change] = pace.seconds / pace_with().seconds
    return factors


def steps_left(steps: int, resume: Path | None, fingerprint: str) -> int:
    """How many of these steps a checkpoint of the same training has not done."""
    if resume is None or not resume.exists():
        return steps
    state = checkpoint.load(resume)
    return steps - state["step"] * (state["fingerprint"] == fingerprint)


def available_memory(device: torch.device) -> int:
    """Bytes of the GPU, or of the machine, or of the container that this process is in."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # of version 2 and 1
        with suppress(OSError, ValueError):  # "max": none
            limits.append(int(Path("/sys/fs/cgroup", name).read_text()))
    return min(limits)


def free_disk(folder: Path) -> int:
    """Bytes that are free where a folder lies, or will lie."""
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


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
