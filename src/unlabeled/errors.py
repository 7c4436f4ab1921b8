"""What can go wrong through no fault of the code: each message is one sentence that says what to change."""


class UnlabeledError(Exception):
    """A mistake or a circumstance that the user can mend; shown without a traceback."""


class ConfigError(UnlabeledError):
    """A parameter of the wrong name, type or range."""


class DataError(UnlabeledError):
    """Images, labels or files that cannot be used as they are."""


class TrainingError(UnlabeledError):
    """A run that diverged or collapsed, or that cannot start or resume."""
