"""How parameters come together: the stage's block, then the method's own, then `--params`, which beat both."""

from collections.abc import Iterator
from typing import Any

from kedro.config import OmegaConfigLoader

from unlabeled.errors import ConfigError
from unlabeled.methods import METHODS, TEXT_METHODS

PER_METHOD = ("augmentation", "pretraining", "evaluation", "registration")
"""The blocks that a method may change for itself under its own name."""
NOT_OF_IMAGES = ("ingestion", "augmentation")
"""The blocks of a method of text that have nothing in common with those of images: it has them to itself."""


class MethodConfigLoader(OmegaConfigLoader):
    """Completes `<method>.<block>` from `<block>`, so that `params:byol.pretraining` holds all of its parameters."""

    def __getitem__(self, key: str) -> Any:
        config = super().__getitem__(key)
        if key != "parameters":
            return config
        given = self.runtime_params or {}
        for method in METHODS:
            own, own_given = config.get(method) or {}, given.get(method) or {}
            alone = NOT_OF_IMAGES if method in TEXT_METHODS else ()
            places = {
                block: ({} if block in alone else config, own, given, own_given) for block in (*alone, *PER_METHOD)
            }
            layers = {block: [place.get(block) for place in each] for block, each in places.items()}
            config = {**config, method: {**own, **{block: _merge(block, *parts) for block, parts in layers.items()}}}
        return config


def flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values by their dotted names."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _merge(block: str, *layers: Any) -> dict[str, Any]:
    """Later layers win, key by key."""
    merged: dict[str, Any] = {}
    for layer in layers:
        if not isinstance(layer, dict | None):
            raise ConfigError(f"{block}: received {layer!r}, expected a block of parameters such as {block}.KEY=VALUE")
        for key, value in (layer or {}).items():
            nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = _merge(f"{block}.{key}", merged[key], value) if nested else value
    return merged
