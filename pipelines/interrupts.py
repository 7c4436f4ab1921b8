"""Makes SIGTERM, which schedulers send, end a command as Ctrl-C does: without a traceback."""

import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

EXIT_CODE = 128 + signal.SIGTERM
"""Exit code of a command that SIGTERM has ended: 128 plus the number of the signal, as in shells."""


class Terminated(KeyboardInterrupt):
    """SIGTERM was received."""


@contextmanager
def sigterm_as_interrupt() -> Generator[None]:
    """Raises Terminated on the first SIGTERM, after forwarding it to all child processes."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: Any) -> None:
    import psutil  # imported only here, to keep the start of commands fast

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for process in psutil.Process().children(recursive=True):
        process.terminate()
    raise Terminated


def hide_interrupts() -> None:
    """Replaces the traceback of an uncaught KeyboardInterrupt, such as during imports, by the word "stopped"."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print("stopped", file=sys.stderr)
        else:
            before(kind, error, trace)

    sys.excepthook = hook
