"""One bar for everything that takes more than a few seconds: done, rate, time left."""

from collections.abc import Iterator
from contextlib import contextmanager

import rich
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """Advances by a number of units; `note` is shown at the end of the line."""

    def __init__(self, progress: Progress, task: int):
        self._progress, self._task = progress, task

    def advance(self, units: int = 1, note: str = "") -> None:
        self._progress.update(self._task, advance=units, note=note)


@contextmanager
def bar(title: str, total: int | None, unit: str, done: int = 0) -> Iterator[Bar]:
    """A bar over `total` units (None: unknown), of which `done` were done before. Silent where there is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[note]}"),
        TextColumn("· left"),
        TimeRemainingColumn(compact=True),
    )
    console = rich.get_console()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield Bar(progress, progress.add_task(title, total=total, completed=done, note=""))
