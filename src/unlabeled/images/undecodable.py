"""The error of an image that cannot be decoded, and the check for packages that some formats need."""

from importlib.util import find_spec


class UndecodableError(ValueError):
    """An image cannot be decoded; the message is the reason in the quarantine."""


def check_package(module: str, package: str, form: str) -> None:
    """Raises UndecodableError where the package that reads a format is not installed."""
    if find_spec(module) is None:
        raise UndecodableError(f"{form} needs {package}: pip install {package}")
