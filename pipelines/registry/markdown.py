"""Escapes untrusted text in Markdown, so that it makes no table, link, heading or HTML."""

import re

from unlabeled.runtime.legible import legible

ACTIVE = re.compile(r"[\\`*\[\]<>|~#&$]|(?<![^\W_])_|_(?![^\W_])|(?<=\w):(?=//)|(?<=www)\.|@(?=\w)")
"""Characters with a meaning in GitHub's Markdown, its links and mentions; a `_` within a word has none."""


def escaped(text: str) -> str:
    """The text in one line, with every special character escaped."""
    return ACTIVE.sub(lambda found: f"\\{found[0]}", legible(text))


def code(text: str) -> str:
    """The text in one line as inline code, between as many backticks as needed."""
    shown = legible(text)
    longest = max((len(ticks) for ticks in re.findall("`+", shown)), default=0)
    fence, space = "`" * (longest + 1), " " * ("`" in shown)
    return f"{fence}{space}{shown}{space}{fence}"
