"""Reads and writes the values of `--params`: texts stay as they were typed, other values are YAML."""

import re
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipelines.parameters import flatten
from pipelines.yaml_limits import check_yaml
from unlabeled.config import Block, Embedding, Exporting, Finetuning, Ingestion, Pretraining, Registration, Search
from unlabeled.errors import ConfigError
from unlabeled.pairs.config import PairsIngestion
from unlabeled.text.config import TextIngestion
from unlabeled.video.config import VideoIngestion

TEXT_BLOCKS: tuple[type[Block], ...] = (Embedding, Exporting, Finetuning, Ingestion, Pretraining, Registration, Search)
TEXT_BLOCKS += (PairsIngestion, TextIngestion, VideoIngestion)
"""Blocks of parameters that have keys whose values are texts."""
KEY = r"[A-Za-z_][\w.]*"
SEPARATOR = re.compile(rf"\s*,\s*(?={KEY}\s*=|,|$)")
"""A comma between two parameters. A comma that no key follows belongs to the value."""
QUOTED = re.compile(rf"(?P<start>(?:^|,)\s*{KEY}\s*=\s*)(?P<quote>['\"])(?P<text>.*?)(?P=quote)\s*(?=,|$)", re.DOTALL)
NEEDS_QUOTES = re.compile(rf"^\s|\s$|,\s*({KEY}\s*=|,|$)|^['\"]|^null$|^$")
"""Texts that `parse_params` would misread without quotes."""


def parse_params(written: str) -> dict[str, Any]:
    """Nested parameters from `block.key=value,block.key=value`.

    The value of a key that takes a text stays as it is written; other values are read as YAML. A value in quotes is a
    text and may hold commas. `null` without quotes is None.

    Raises:
        ConfigError: A part has no `=`, or its value cannot be read.
    """
    texts: list[str] = []

    def put_aside(match: re.Match) -> str:
        texts.append(match["text"])
        return f"{match['start']}\0{len(texts) - 1}"

    given = OmegaConf.create()
    for part in filter(None, SEPARATOR.split(QUOTED.sub(put_aside, written.strip()))):
        key, equals, value = (each.strip() for each in part.partition("="))
        if not equals or not re.fullmatch(KEY, key):
            raise ConfigError(f"--params: received {part!r}, expected block.key=value, with a comma between several")
        text = texts[int(value[1:])] if value.startswith("\0") else value if _takes_text(key, value) else None
        given_text = value if text is None else text
        if "${" in given_text:  # OmegaConf would replace it by another key or by an environment variable
            raise ConfigError(f"--params: {key}: received {given_text!r}, expected a value without ${{")
        try:
            read = _as_yaml(key, value) if text is None else text
            OmegaConf.update(given, key, read, force_add=True)
        except (OmegaConfBaseException, YAMLError) as error:
            what = " ".join(str(error).split())
            raise ConfigError(f"--params: {key}: received {value!r}, which cannot be read ({what})") from error
    return cast(dict[str, Any], OmegaConf.to_container(given))


def _as_yaml(key: str, value: str) -> Any:
    check_yaml(value, f"--params: {key}")
    return OmegaConf.from_dotlist([f"value={value}"])["value"]


def _takes_text(key: str, value: str) -> bool:
    """Whether the key takes a text, so that a value without quotes is kept as it is written."""
    path, _, name = key.rpartition(".")
    block = path.rpartition(".")[2]
    return value != "null" and any(each.block == block and each.takes_text(name) for each in TEXT_BLOCKS)


def write_params(values: dict[str, Any]) -> str:
    """The argument from which `parse_params` reads these nested values."""
    return ",".join(f"{name}={_written(value)}" for name, value in flatten(values))


def _written(value: Any) -> str:
    if isinstance(value, str) and NEEDS_QUOTES.search(value):
        quote = "'" if '"' in value else '"'
        return f"{quote}{value}{quote}"
    return "null" if value is None else str(value)
