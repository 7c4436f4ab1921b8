"""How much YAML may ask for: a few lines of it can stand for more values than any memory holds."""

from pathlib import Path

import yaml

from unlabeled.errors import ConfigError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_DEPTH = 50
"""Blocks within each other."""
MAX_VALUES = 10_000
"""Values, those that aliases repeat among them."""


def check_file(file: Path) -> None:
    """Raises ConfigError where a file of the configuration asks for too much, or holds no blocks.

    What is no YAML is left to its reader, which knows the line.
    """
    try:
        text = file.read_text(encoding="utf-8")
        check_yaml(text, str(file))
        held = yaml.load(text, LOADER)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: received bytes that are no text in UTF-8, expected YAML") from error
    except yaml.YAMLError:
        return
    if not isinstance(held, dict | None):
        raise ConfigError(f"{file}: received a {type(held).__name__}, expected blocks such as NAME: {{KEY: VALUE}}")


def check_yaml(text: str, name: str) -> None:
    """Counts what YAML describes, without building it.

    Args:
        name: What messages call the text.

    Raises:
        ConfigError: It is nested too deeply, or describes too many values.
        yaml.YAMLError: It is no YAML.
    """
    open_blocks: list[tuple[str | None, int]] = []
    sizes: dict[str | None, int] = {}
    values = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.AliasEvent):
            values += sizes.get(event.anchor, MAX_VALUES)  # one within itself is endless
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_blocks.append((event.anchor, values))
            sizes.pop(event.anchor, None)
            values += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_blocks.pop()
            sizes[anchor] = values - before
        if len(open_blocks) > MAX_DEPTH:
            raise ConfigError(f"{name}: received blocks within more than {MAX_DEPTH} others, expected fewer")
        if values > MAX_VALUES:
            raise ConfigError(
                f"{name}: received more than {MAX_VALUES:,} values, all that its aliases repeat among them, expected "
                f"fewer"
            )
