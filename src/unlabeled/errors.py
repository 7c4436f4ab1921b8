"""Errors that are not faults of the code. Each message is one sentence that says what to change."""

from unlabeled.runtime.masking import masked


class UnlabeledError(Exception):
    """A mistake or a circumstance that the user can correct; shown without a traceback, and never with a password."""

    def __init__(self, message: str):
        super().__init__(masked(message))


class ConfigError(UnlabeledError):
    """A parameter of the wrong name, type or range."""


class DataError(UnlabeledError):
    """Images, labels or files that cannot be used as they are."""


class TrainingError(UnlabeledError):
    """A run that diverged or collapsed, or that cannot start or resume."""
