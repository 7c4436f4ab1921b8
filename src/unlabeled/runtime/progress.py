"""Progress of work that takes more than a few seconds: bars with rate and time left, and spinners where nothing can be
counted."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

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

from unlabeled.runtime.legible import legible

LOGGERS = ("unlabeled", "pipelines")


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


@contextmanager
def bar(title: str, total: int | None, unit: str, done: int = 0) -> Generator[Bar]:
    """A bar over `total` units (None: unknown), of which `done` are done already; hidden if quiet or without a
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
        yield Bar(progress, progress.add_task(legible(title), total=total, completed=done, note=""))


@contextmanager
def waiting(title: str) -> Generator[None]:
    """A spinner with the elapsed time, for work that cannot be counted; bars are shown below it."""
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=rich.get_console(), disable=not _is_shown(), transient=True) as progress:
        progress.add_task(legible(title), total=None)
        yield


def _is_shown() -> bool:
    return rich.get_console().is_terminal and logging.getLogger(LOGGERS[0]).level < logging.WARNING
