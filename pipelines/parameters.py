"""Merges parameters: `--params` override a method's own block, which overrides the block of the stage."""

import logging
import re
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from kedro.config import OmegaConfigLoader

from pipelines.yaml_limits import check_file
from unlabeled.catalogue import IMAGE_METHODS, METHODS
from unlabeled.errors import ConfigError

logger = logging.getLogger(__name__)

PER_METHOD = ("augmentation", "pretraining", "evaluation", "registration")
"""Blocks that a method may override under its own name."""
IMAGE_BLOCKS = ("ingestion", "augmentation")
"""Blocks that only methods of images share. Methods of other data have them under their own name alone."""
ENCODER_KEY = "encoder"
"""The key of `pretraining` that only methods of images share."""
KEY_OF_IMAGES = re.compile(rf"(?<![\w./])(?=(?:{'|'.join(IMAGE_BLOCKS)})\.[a-z]|pretraining\.{ENCODER_KEY}\b)")
"""The place in a text before a parameter that methods of other data have under their own name alone."""

SIZES = {"batch_size", "learning_rate", "vocabulary"}
"""Keys that fit the size of the data."""


class MethodConfigLoader(OmegaConfigLoader):
    """Completes `<method>.<block>` from `<block>`, so that `params:byol.pretraining` holds all parameters."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        if self.env and Path(self.conf_source).is_dir():  # else it is an archive
            known = {folder.name for folder in Path(self.conf_source).iterdir() if folder.is_dir()}
            check_names("--env", [self.env], known | {self.default_run_env})
        for environment in {self.base_env, self.env or self.default_run_env}:
            for file in sorted(Path(self.conf_source, environment).rglob("*")):
                if file.suffix in (".yml", ".yaml", ".json"):
                    check_file(file)

    def __getitem__(self, key: str) -> Any:
        config = super().__getitem__(key)
        if key != "parameters":
            return config
        given = self.runtime_params or {}
        for method in METHODS:
            own, own_given = (_block(method, layer.get(method)) for layer in (config, given))
            of_images = method in IMAGE_METHODS
            shared = [each if of_images else _without_image_parameters(each) for each in (config, given)]
            blocks = {*PER_METHOD, *(() if of_images else IMAGE_BLOCKS)}
            layers = shared[0], own, shared[1], own_given
            merged = {block: _merge(block, *(layer.get(block) for layer in layers)) for block in blocks}
            config = {**config, method: {**own, **merged}}
        return config

    def chosen(self, name: str) -> set[str]:
        """The keys of a block, by its dotted name, that `--params` or the environment sets.

        Sizes for the data of another environment than conf/local are defaults too.
        """
        env = self.env or self.default_run_env
        method, _, block = name.rpartition(".")

        def keys(layer: dict[str, Any]) -> set[str]:
            shared = layer if method in {"", *IMAGE_METHODS} else _without_image_parameters(layer)
            return {*_block(block, shared.get(block)), *_block(name, _block(method, layer.get(method)).get(block))}

        given = keys(self.runtime_params or {})
        configured = keys(self._environment)
        return given | (configured if env == self.default_run_env else configured - SIZES)

    @cached_property
    def _environment(self) -> dict[str, Any]:
        """The parameters of the environment alone, and those that `--params` gives."""
        env = self.env or self.default_run_env
        if env == self.base_env:
            return {}
        patterns = self.config_patterns["parameters"]
        return self.load_and_merge_dir_config(str(Path(self.conf_source, env)), patterns, "parameters", set())


def _block(name: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict | None):
        raise ConfigError(f"{name}: received {values!r}, expected a block of parameters such as {name}.KEY=VALUE")
    return values or {}


def _without_image_parameters(shared: dict[str, Any]) -> dict[str, Any]:
    """The shared blocks and keys that also apply to methods of other data than images."""
    kept = {block: values for block, values in shared.items() if block not in IMAGE_BLOCKS}
    if isinstance(pretraining := kept.get("pretraining"), dict):
        kept["pretraining"] = {key: value for key, value in pretraining.items() if key != ENCODER_KEY}
    return kept


def check_no_image_parameters(given: dict[str, Any], methods: set[str]) -> None:
    """Raises ConfigError where `--params` sets, for a method of other data, a parameter that only images have."""
    for name, _ in flatten(given):
        if methods and (name.partition(".")[0] in IMAGE_BLOCKS or name == f"pretraining.{ENCODER_KEY}"):
            method = min(methods)
            raise ConfigError(f"{name} is a parameter of the methods of images: for {method}, give {method}.{name}")


def with_method(text: str, pipelines: Collection[str]) -> str:
    """A message in which each parameter has the name under which these pipelines take it.

    The substance knows no method by name: it says `ingestion.vocabulary` where gpt has `gpt.ingestion.vocabulary`.
    """
    methods = [name for name in pipelines if name in METHODS and name not in IMAGE_METHODS]
    return KEY_OF_IMAGES.sub(f"{methods[0]}.", text) if methods else text


def check_names(option: str, received: Iterable[str], known: Collection[str]) -> None:
    """Raises ConfigError for a name that is not known, with the nearest that are."""
    for name in received:
        if name not in known:
            close = get_close_matches(name, known, cutoff=0.7)
            hint = f"did you mean {' or '.join(close)}?" if close else f"expected one of {', '.join(sorted(known))}"
            raise ConfigError(f"{option}: received {name!r}, {hint}")


def check_blocks_known(given: dict[str, Any], read: Iterable[str]) -> None:
    """Raises ConfigError where `--params` has a block that no stage of any pipeline reads.

    Args:
        read: The blocks that nodes read, by their dotted names.
    """
    known = {*read, *PER_METHOD, *IMAGE_BLOCKS}
    for name in _outside(known, given):
        raise ConfigError(f"{name} is not a parameter: {_hint(name, known)}")


def check_spelling(configured: dict[str, Any], read: Iterable[str]) -> None:
    """Raises ConfigError where the files hold a misspelt block. Names unlike ours may belong to a package or script."""
    known = {*read, *PER_METHOD, *IMAGE_BLOCKS}
    ours = {block.partition(".")[0] for block in known}
    for name in _outside(known, configured):
        if get_close_matches(name.partition(".")[0], ours, n=1, cutoff=0.75):
            raise ConfigError(f"{name} is not a parameter: {_hint(name, known)}")


def warn_unread(given: dict[str, Any], read: Collection[str]) -> None:
    """Warns of each of `--params` that no stage of this run reads."""
    blocks = {*read, *(name.partition(".")[2] for name in read)}  # byol.pretraining also reads pretraining
    for name in _outside(blocks, given):
        logger.warning("%s: no stage of this run reads it", name)


def _outside(blocks: Collection[str], values: dict[str, Any]) -> Iterator[str]:
    """The dotted names of values that lie in none of the blocks."""
    for name, _ in flatten(values):
        if not any(f"{name}.".startswith(f"{block}.") for block in blocks):
            yield name


def _hint(name: str, known: set[str]) -> str:
    method, *_ = path = name.split(".")
    others = METHODS.keys() - {method} if method in METHODS else set()
    blocks = sorted(block for block in known if block.partition(".")[0] not in others)
    for depth in (2, 1):  # a method's block, or a shared one
        if close := get_close_matches(".".join(path[:depth]), blocks, n=1, cutoff=0.75):
            return f"did you mean {'.'.join([*close, *path[depth:]])}?"
    return f"choose from the blocks {', '.join(sorted({*PER_METHOD, *IMAGE_BLOCKS}))}"


def flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs of dotted name and value from nested dicts."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _merge(block: str, *layers: Any) -> dict[str, Any]:
    """Merges layers of a block key by key; later layers override earlier ones."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in _block(block, layer).items():
            nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = _merge(f"{block}.{key}", merged[key], value) if nested else value
    return merged
