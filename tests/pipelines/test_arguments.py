import pytest

from pipelines import arguments
from pipelines.arguments import parse_params, write_params
from unlabeled.config import Block
from unlabeled.errors import ConfigError


def subclasses(kind):
    for each in kind.__subclasses__():
        yield each
        yield from subclasses(each)


TEXTS = ["/data/a,b [1]/007", "007", "1e3", "true", "1_000", "~", "a=b", "C:\\x", "100%", "é #1?", "[a-z]+|[:, ]", "{}"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("key", ["ingestion.path", "gpt.ingestion.path", "embed.version", "registration.model_name"])
def test_a_text_arrives_as_it_was_written(key, text):
    *blocks, name = key.split(".")
    given = parse_params(f"{key}={text},pretraining.epochs=3")
    assert given.pop("pretraining") == {"epochs": 3}
    for block in blocks:
        given = given[block]
    assert given == {name: text}


def test_other_values_are_read_as_yaml():
    given = "pretraining.learning_rate=1e-3, augmentation.crop_scale=[0.2,1.0],byol.pretraining.method={a: 1, b: null},"
    assert parse_params(given) == {
        "pretraining": {"learning_rate": 1e-3},
        "augmentation": {"crop_scale": [0.2, 1.0]},
        "byol": {"pretraining": {"method": {"a": 1, "b": None}}},
    }


def test_quotes_hold_what_reads_like_another_key_or_like_none():
    written = """ingestion.path='/a,b=1/"c"',search.image="null",registration.model_name=null"""
    assert parse_params(written) == {
        "ingestion": {"path": '/a,b=1/"c"'},
        "search": {"image": "null"},
        "registration": {"model_name": None},
    }


@pytest.mark.parametrize("text", [*TEXTS, "a,b=1", "null", " a", "'a", "", "a,"])
def test_what_is_written_reads_the_same(text):
    values = {"search": {"image": text, "top": 3}, "export": {"image": None}}
    assert parse_params(write_params(values)) == values


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("epochs", "received 'epochs', expected block.key=value"),
        ("=3", "received '=3', expected block.key=value"),
        ("pretraining.method={a: 1", "pretraining.method: received '{a: 1', which cannot be read"),
        ("ingestion.fraction=${oc.env:SECRET}", "received '${oc.env:SECRET}', expected a value without ${"),
        ("ingestion.path=/a/${b}", "ingestion.path: received '/a/${b}', expected a value without ${"),
    ],
)
def test_what_cannot_be_read_is_told(written, said):
    with pytest.raises(ConfigError) as error:
        parse_params(written)
    assert said in str(error.value)


def test_every_key_that_takes_a_text_is_known():
    blocks = [each for each in subclasses(Block) if hasattr(each, "block")]
    with_texts = {(each.block, name) for each in blocks for name in each.model_fields if each.takes_text(name)}
    assert with_texts
    assert all(arguments._takes_text(f"{block}.{name}", "7") for block, name in with_texts)
