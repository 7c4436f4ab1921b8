"""Defaults that adapt to the data. A value that the user has chosen stays, and is refused where it does not fit."""

import math
from collections.abc import Collection
from typing import Any, NamedTuple

from unlabeled.config import Augmentation, Pretraining

MIN_STEPS_PER_EPOCH = 2
"""Least number of batches that an adapted batch size leaves in an epoch."""
MAX_DRAWN_SIDE = 32
"""Largest side in pixels of images that may be drawings, such as digits, which a moved copy still shows."""


MOVES = {"degrees", "translate", "shear", "zoom"}
"""Keys of `augmentation` that leave black corners."""


class Adapted(NamedTuple):
    """New values of a block's keys, and why in one line; no values: the block fits."""

    values: dict[str, Any]
    reason: str = ""


def fit_batch(config: Pretraining, chosen: Collection[str], count: int, unit: str) -> Adapted:
    """A batch size of which `count` rows make at least two, where the default makes fewer: CLIP at one batch an epoch
    collapses (docs/data.md).

    The learning rate follows: by the square root of the batch size for AdamW (arXiv:2205.10343), else linearly
    (arXiv:1706.02677).

    Args:
        chosen: Keys of `pretraining` that the user has set.
        unit: Name of the rows in the plural.
    """
    if config.batch_size * MIN_STEPS_PER_EPOCH <= count or "batch_size" in chosen or count < 2:
        return Adapted({})
    size = max(2, 2 ** int(math.log2(max(1, count // MIN_STEPS_PER_EPOCH))))
    share = size / config.batch_size
    values: dict[str, Any] = {"batch_size": size}
    if "learning_rate" not in chosen:
        rate = config.learning_rate * (share**0.5 if config.optimizer == "adamw" else share)
        values["learning_rate"] = float(f"{rate:.3g}")
    return Adapted(values, f"there are {count:,} {unit} to train on")


def fit_recipe(recipe: Augmentation, chosen: Collection[str], size: int) -> Adapted:
    """The recipe for photographs in place of the default one for digits: a rotated or shifted photograph has black
    corners, by which its views are recognised.

    Args:
        chosen: Keys of `augmentation` that the user has set.
        size: Pixels a side of the stored images.
    """
    digits = {key for key, value in recipe.digits.items() if key not in chosen and getattr(recipe, key) == value}
    if size <= MAX_DRAWN_SIDE or not digits & MOVES:
        return Adapted({})
    photographs = type(recipe)()
    values = {key: getattr(photographs, key) for key in recipe.digits if key in digits}
    return Adapted(
        {key: value for key, value in values.items() if value != getattr(recipe, key)},
        f"images of {size} pixels a side are no digits, for which the defaults are made",
    )
