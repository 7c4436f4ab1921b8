"""Checks of a method's constants: each raises ValueError with what was received and what was expected."""

import math


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raises ValueError where a constant is not within [low, high]."""
    if not low <= value <= high:
        raise ValueError(f"{name}: received {value}, expected {low:g} to {high:g}")


def check_positive(name: str, value: float) -> None:
    """Raises ValueError where a constant is not above 0."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name}: received {value}, expected a number above 0")


def check_share(name: str, value: float) -> None:
    """Raises ValueError where a constant is not strictly between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name}: received {value}, expected a number between 0 and 1, neither of them")
