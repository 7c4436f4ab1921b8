"""Counts with their noun in the right number: `1 image`, not `1 images`."""

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
