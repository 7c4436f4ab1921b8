"""Counts with their noun in the right number (`1 image`, not `1 images`), and durations."""

ENDINGS = {"ies": "y", "sses": "ss", "s": ""}
"""Plural endings, each with its singular ending."""


def counted(count: int, plural: str) -> str:
    """A count with its noun: `2,000 images`, `1 image`, `0 images`.

    Args:
        plural: Noun in the plural; only its last word becomes singular.
    """
    return f"{count:,} {singular(plural) if count == 1 else plural}"


def singular(plural: str) -> str:
    ending = next(ending for ending in ENDINGS if plural.endswith(ending))
    return plural.removesuffix(ending) + ENDINGS[ending]


def duration(seconds: float) -> str:
    """Seconds in words: `20 s`, `4 min`, `2 h 10 min`."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
