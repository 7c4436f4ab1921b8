"""Log records and tracebacks without the passwords of the addresses in them, whichever library wrote them."""

import logging
import sys
import traceback
from typing import Any

from unlabeled.runtime.masking import masked


def mask_logs() -> None:
    """From now on no log record of this process holds a password, whatever its logger and its handlers."""
    make = logging.getLogRecordFactory()
    if getattr(make, "masks", False):
        return

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        try:
            text = record.getMessage()
        except Exception:  # arguments that do not fit: logging says so where the record is handled
            return record
        if (hidden := masked(text)) != text:
            record.msg, record.args = hidden, ()
        if record.exc_info and (trace := masked_traceback(record.exc_info[1])):
            record.msg, record.args, record.exc_info = f"{record.getMessage()}\n{trace}", (), None
        return record

    factory.masks = True  # ty: ignore[missing-attribute]
    logging.setLogRecordFactory(factory)


def masked_traceback(error: BaseException | None) -> str:
    """The traceback without its passwords; empty where there are none in it."""
    text = "".join(traceback.format_exception(error)) if error else ""
    hidden = masked(text)
    return hidden if hidden != text else ""


def exit_with_masked_traceback(error: BaseException) -> None:
    """Ends the program with the masked traceback of an error that nobody has foreseen, where it holds a password."""
    if trace := masked_traceback(error):
        sys.stderr.write(trace)
        raise SystemExit(1) from None
