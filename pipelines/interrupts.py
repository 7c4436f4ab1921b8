"""SIGTERM, as a scheduler sends it, ends a command as Ctrl-C does; neither ends in a traceback."""

import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

EXIT_CODE = 128 + signal.SIGTERM
"""Exit code of a command that SIGTERM has ended, as shells have it: 128 and the number of the signal."""


class Terminated(KeyboardInterrupt):
    """SIGTERM was received."""


@contextmanager
def sigterm_as_interrupt() -> Generator[None]:
    """Raises Terminated on SIGTERM, once, after sending it on to all processes that this one has started."""
    if threading.current_thread() is not threading.main_thread():  # which alone receives signals
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: Any) -> None:
    import psutil  # only where it is needed: a command's start waits for every import

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for process in psutil.Process().children(recursive=True):
        process.terminate()
    raise Terminated


def hide_interrupts() -> None:
    """Makes a KeyboardInterrupt that nobody catches, as while modules are imported, end in a word."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("stopped", file=sys.stderr)
        else:
            before(kind, error, trace)

    sys.excepthook = hook
