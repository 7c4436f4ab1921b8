"""Counts in words: one image, and not 1 images."""

ENDINGS = {"ies": "y", "sses": "ss", "s": ""}
"""How plurals end, and their singulars."""


def counted(count: int, plural: str) -> str:
    """`2,000 images`, `1 image`, `0 images`.

    Args:
        plural: What is counted, in the plural; its last word is the one that has a singular.
    """
    return f"{count:,} {singular(plural) if count == 1 else plural}"


def singular(plural: str) -> str:
    ending = next(ending for ending in ENDINGS if plural.endswith(ending))
    return plural.removesuffix(ending) + ENDINGS[ending]
