"""Masks passwords in URLs in the log records and tracebacks of all libraries."""

import logging
import sys
import traceback
from typing import Any

from unlabeled.runtime.masking import masked


def mask_logs() -> None:
    """Masks passwords in every log record of this process from now on."""
    make = logging.getLogRecordFactory()
    if getattr(make, "masks", False):
        return

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        try:
            text = record.getMessage()
        except Exception:  # the arguments do not fit the message: logging reports it when the record is handled
            return record
        if (hidden := masked(text)) != text:
            record.msg, record.args = hidden, ()
        if record.exc_info and (trace := masked_traceback(record.exc_info[1])):
            record.msg, record.args, record.exc_info = f"{record.getMessage()}\n{trace}", (), None
        return record

    factory.masks = True  # ty: ignore[missing-attribute]
    logging.setLogRecordFactory(factory)


def masked_traceback(error: BaseException | None) -> str:
    """The traceback with masked passwords; empty where it holds no password."""
    text = "".join(traceback.format_exception(error)) if error else ""
    hidden = masked(text)
    return hidden if hidden != text else ""


def exit_with_masked_traceback(error: BaseException) -> None:
    """Exits with a masked traceback where the traceback of an unexpected error holds a password."""
    if trace := masked_traceback(error):
        sys.stderr.write(trace)
        raise SystemExit(1) from None
