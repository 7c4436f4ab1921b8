"""Text of others in Markdown: it stands there as it is, and makes no table, link, heading or HTML."""

import re

from unlabeled.runtime.legible import legible

ACTIVE = re.compile(r"[\\`*\[\]<>|~#&$]|(?<![^\W_])_|_(?![^\W_])|(?<=\w):(?=//)|(?<=www)\.|@(?=\w)")
"""What Markdown, GitHub's with its links and mentions, reads as something else; not the `_` within a word."""


def escaped(text: str) -> str:
    """A line of text in which nothing has a meaning to Markdown."""
    return ACTIVE.sub(lambda found: f"\\{found[0]}", legible(text))


def code(text: str) -> str:
    """A line of text between as many backticks as it takes."""
    shown = legible(text)
    longest = max((len(ticks) for ticks in re.findall("`+", shown)), default=0)
    fence, space = "`" * (longest + 1), " " * ("`" in shown)
    return f"{fence}{space}{shown}{space}{fence}"
