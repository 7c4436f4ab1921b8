import ast
import re

import pytest
from markdown_it import MarkdownIt

from pipelines.registry.card import Kind, model_card

HOSTILE = "a\"b' |`x`| <img src=x onerror=alert(1)> [c](https://evil.example) \x1b[2J\u202e\n\n# forged\n\n```\n**d**"
METRICS = {"linear_probe_accuracy": None, "embedding_std": 0.5, "rankme": 9.0}


@pytest.fixture
def card():
    """The card of a version whose every name and reason is hostile, as HTML."""
    tags = dict.fromkeys(("command", "data_digest", "protocol", "seed", "drift"), HOSTILE) | {"method": "byol"}
    kind = Kind("An image encoder", f"9 images of {HOSTILE}", 'Path("photo.jpg")', "It takes images.")
    made = model_card(HOSTILE, "3", tags, METRICS, kind, True, HOSTILE, "", [HOSTILE, "cat"])
    assert not {"\x1b", "\u202e"} & set(made)
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(made)


def test_names_make_no_elements_in_a_card(card):
    assert set(re.findall(r"<(\w+)", card)) == {"h1", "h2", "p", "strong", "ul", "li", "code", "pre"}
    assert card.count("<h1>") == 1 and card.count("<h2>") == 2 and card.count("<strong>") == 2


def test_the_example_of_a_card_is_python(card):
    example = re.search(r'<code class="language-python">(.*?)</code>', card, re.DOTALL)[1].replace("&quot;", '"')
    lines = ast.parse(example.replace("&lt;", "<").replace("&gt;", ">")).body
    load, predict = (line.value for line in lines if isinstance(line, ast.Assign))
    assert load.args[0].value == f"models:/{HOSTILE}/3" and ast.unparse(predict) == "model.predict(Path('photo.jpg'))"


def test_a_card_names_the_classes_in_the_order_of_the_probabilities():
    kind, names = Kind("An encoder", "9 images", '"text"', "It takes texts."), [f"class-{i}" for i in range(40)]
    made = model_card("x", "3", {"method": "gpt"}, METRICS, kind, True, "better", "", names)
    assert "`probability` has 40 columns, in the order of `model/classes.json`: class" in made
    assert made.index("class-0,") < made.index("class-29 and 10 more.") and "pathlib" not in made
    assert made.index("## Use it") < made.index("## Where it comes from")
