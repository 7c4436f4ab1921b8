"""Progress of work that takes more than a few seconds: bars with rate and time left, and spinners where nothing can be
counted. Without a terminal, a line of the log each minute.
"""

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager

import rich
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from unlabeled.runtime.counts import duration
from unlabeled.runtime.legible import legible

logger = logging.getLogger(__name__)

LOGGERS = ("unlabeled", "pipelines")
LINE_SECONDS = 60.0
"""Seconds between two lines of a log that say that something is at work."""


def be_quiet() -> None:
    """Turns off bars and informational messages; warnings and errors remain."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


class Bar:
    """A progress bar that advances by units; `note` is shown at the end of the line."""

    def __init__(self, progress: Progress, task: TaskID):
        self._progress, self._task = progress, task

    def advance(self, units: int = 1, note: str = "") -> None:
        self._progress.update(self._task, advance=units, note=legible(note))

    def line(self, unit: str, before: int, began: float) -> str:
        """What is done, and the time left.

        Args:
            before: Units that were done at the beginning.
            began: The time of the beginning, by `time.monotonic`.
        """
        task = self._progress.tasks[0]
        done, total = int(task.completed), task.total
        if total is None:
            return f"{task.description}: {done:,} {unit}"
        left = ""
        if done > before:
            left = f", {duration((time.monotonic() - began) / (done - before) * (total - done))} left"
        return f"{task.description}: {done:,} of {int(total):,} {unit}{left} {task.fields['note']}".rstrip()


class _Lines(threading.Thread):
    """Logs a line each minute. Of several such threads only the one that was started last does, the innermost."""

    def __init__(self, line: Callable[[], str]):
        super().__init__(daemon=True)
        self._line, self._ended, self.began = line, threading.Event(), time.monotonic()

    def run(self) -> None:
        while not self._ended.wait(LINE_SECONDS):
            others = (each for each in threading.enumerate() if isinstance(each, _Lines))
            if all(each.began <= self.began for each in others):
                logger.info("%s", self._line())

    def end(self) -> None:
        self._ended.set()
        self.join()


@contextmanager
def _lines(line: Callable[[], str]) -> Generator[None]:
    """Logs a line each minute where no terminal shows progress."""
    if rich.get_console().is_terminal or _is_quiet():
        yield
        return
    thread = _Lines(line)
    thread.start()
    try:
        yield
    finally:
        thread.end()


def lines_while(title: str) -> AbstractContextManager[None]:
    """A context that logs the elapsed time each minute, without a terminal, for work that writes to the terminal
    itself."""
    began = time.monotonic()
    return _lines(lambda: f"{legible(title)}: at work for {duration(time.monotonic() - began)}")


@contextmanager
def bar(title: str, total: int | None, unit: str, done: int = 0) -> Generator[Bar]:
    """A bar over `total` units (None: unknown), of which `done` are done already; hidden if quiet, lines without a
    terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[note]}", markup=False),
        TextColumn("· left"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=rich.get_console(), disable=not _is_shown()) as progress:
        shown = Bar(progress, progress.add_task(legible(title), total=total, completed=done, note=""))
        began = time.monotonic()
        with _lines(lambda: shown.line(unit, done, began)):
            yield shown


@contextmanager
def waiting(title: str) -> Generator[None]:
    """A spinner with the elapsed time, for work that cannot be counted; bars are shown below it."""
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    hidden = not _is_shown()
    with lines_while(title), Progress(*columns, console=rich.get_console(), disable=hidden, transient=True) as progress:
        progress.add_task(legible(title), total=None)
        yield


def _is_shown() -> bool:
    return rich.get_console().is_terminal and not _is_quiet()


def _is_quiet() -> bool:
    return logging.getLogger(LOGGERS[0]).level >= logging.WARNING
