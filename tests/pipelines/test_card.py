import ast
import re

import pytest
from markdown_it import MarkdownIt

from pipelines.card import Kind, model_card

HOSTILE = "a\"b' |`x`| <img src=x onerror=alert(1)> [c](https://evil.example) \x1b[2J\u202e\n\n# forged\n\n```\n**d**"
METRICS = {"linear_probe_accuracy": None, "embedding_std": 0.5, "rankme": 9.0}


@pytest.fixture
def card():
    """The card of a version whose every name and reason is hostile, as HTML."""
    tags = dict.fromkeys(("command", "data_digest", "protocol", "seed", "drift"), HOSTILE) | {"method": "byol"}
    kind = Kind("An image encoder", f"9 images of {HOSTILE}", "images)")
    made = model_card(HOSTILE, "3", tags, METRICS, kind, True, HOSTILE, "")
    assert not {"\x1b", "\u202e"} & set(made)
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(made)


def test_names_make_no_elements_in_a_card(card):
    assert set(re.findall(r"<(\w+)", card)) == {"h1", "h2", "p", "strong", "ul", "li", "code", "pre"}
    assert card.count("<h1>") == 1 and card.count("<h2>") == 2 and card.count("<strong>") == 2


def test_the_example_of_a_card_is_python(card):
    example = re.search(r'<code class="language-python">(.*?)</code>', card, re.DOTALL)[1].replace("&quot;", '"')
    call = ast.parse(example.replace("&lt;", "<").replace("&gt;", ">")).body[1].value
    assert call.args[0].value == f"models:/{HOSTILE}/3"
