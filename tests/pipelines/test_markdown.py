import html
import re

import pytest
from markdown_it import MarkdownIt

from pipelines.registry.markdown import code, escaped
from unlabeled.runtime.legible import legible

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "[click](https://evil.example)",
    "![](https://evil.example/pixel.png)",
    "a|b|c",
    "`rm -rf /` and ``more``",
    "**bold** __bold__ _it_ ~~gone~~",
    "&lt;script&gt;",
    "\n\n# forged\n\n---",
    "\x1b[2J\u202egnp",
    "C:\\new\\",
    "$\\alpha$",
    "registration.must_beat_baselines=0.5",
]
RENDER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def text_of(markdown):
    """What is read of a paragraph, which holds no element."""
    inside = re.fullmatch("<p>(.*)</p>\n", RENDER.render(markdown), re.DOTALL)[1]
    assert "<" not in inside
    return html.unescape(inside)


@pytest.mark.parametrize("text", HOSTILE)
def test_it_is_read_as_it_was(text):
    assert text_of(f"A file {escaped(text)}: gone.") == f"A file {legible(text)}: gone."


@pytest.mark.parametrize("text", HOSTILE)
def test_it_is_one_cell_of_a_table(text):
    table = RENDER.render(f"| a | b |\n| --- | --- |\n| {escaped(text)} | 1 |")
    assert table.count("<td>") == 2 and "<a" not in table and "<img" not in table


@pytest.mark.parametrize("text", [*HOSTILE, "`", "``", "a`"])
def test_it_is_code_as_it_was(text):
    assert html.unescape(RENDER.render(code(text))) == f"<p><code>{legible(text)}</code></p>\n"


def test_github_makes_no_link_and_no_mention():
    assert escaped("https://evil.example www.evil.example @team") == r"https\://evil.example www\.evil.example \@team"


def test_keys_stay_readable():
    assert escaped("registration.max_class_drop=0.1 (p = 0.02)") == "registration.max_class_drop=0.1 (p = 0.02)"
