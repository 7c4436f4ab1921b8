"""Text of foreign origin made safe to print: control characters and invisible ones become escapes."""

import logging
import re

UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""Control characters, characters that are invisible or change the direction of a line, and unpaired surrogates. (The
joiners, which emoji and Persian need, are not among them.)"""


def legible(text: str) -> str:
    r"""The text with an escape such as `\x1b`, `\n` or `\u202e` for each control or invisible character."""
    return UNSEEN.sub(lambda found: repr(found[0])[1:-1], text)


def make_legible(record: logging.LogRecord) -> bool:
    """A filter for a log's handler: turns each record into one line without control or invisible characters."""
    record.msg, record.args = legible(record.getMessage()), None
    return True
