"""Text of others as people read it: characters that a terminal obeys, or that nobody sees, are shown as escapes."""

import logging
import re

UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""Control characters, characters that are invisible or turn the direction of a line, and halves of characters. (The
joiners, with which emoji and Persian are written, are not among them.)"""


def legible(text: str) -> str:
    r"""The text with an escape such as `\x1b`, `\n` or `\u202e` for each character that is not seen."""
    return UNSEEN.sub(lambda found: repr(found[0])[1:-1], text)


def make_legible(record: logging.LogRecord) -> bool:
    """A filter of a log's handler: lets each record through, as one line that shows what is in it."""
    record.msg, record.args = legible(record.getMessage()), None
    return True
