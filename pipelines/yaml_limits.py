"""Limits the size of YAML: through aliases, a few lines can expand to more values than memory holds."""

from pathlib import Path

import yaml

from unlabeled.errors import ConfigError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_DEPTH = 50
"""Largest depth of nested blocks."""
MAX_VALUES = 10_000
"""Largest number of values, including those that aliases repeat."""


def check_file(file: Path) -> None:
    """Raises ConfigError where a configuration file exceeds a limit, or holds no blocks.

    Invalid YAML is not reported here: Kedro's reader reports it with the line.
    """
    try:
        text = file.read_text(encoding="utf-8")
        check_yaml(text, str(file))
        held = yaml.load(text, LOADER)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: received bytes that are not UTF-8, expected YAML") from error
    except yaml.YAMLError:
        return
    if not isinstance(held, dict | None):
        raise ConfigError(f"{file}: received a {type(held).__name__}, expected blocks such as NAME: {{KEY: VALUE}}")


def check_yaml(text: str, name: str) -> None:
    """Counts the values and the depth of YAML without building it.

    Args:
        name: The name of the text in messages.

    Raises:
        ConfigError: The text is nested too deeply, or describes too many values.
        yaml.YAMLError: The text is not YAML.
    """
    open_blocks: list[tuple[str | None, int]] = []
    sizes: dict[str | None, int] = {}
    values = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.AliasEvent):
            values += sizes.get(event.anchor, MAX_VALUES)  # an alias within its own anchor is endless
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
