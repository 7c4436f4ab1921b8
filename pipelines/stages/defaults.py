"""Adapts default parameters to the data, before the first stage that reads them."""

import logging
from typing import Any, cast

from unlabeled.catalogue import IMAGE_METHODS, PAIR_METHODS, TEXT_METHODS
from unlabeled.config import Augmentation, Block, Pretraining
from unlabeled.method import load_method
from unlabeled.training.defaults import Adapted, fit_batch, fit_recipe

logger = logging.getLogger(__name__)


class Defaults:
    """The parameters of a run, adapted to its data where they are defaults.

    Args:
        loader: The loader of the configuration, which knows the keys that the user has set.
    """

    def __init__(self, loader: Any):
        self._loader = loader
        self._told: set[str] = set()

    def fit(self, name: str, block: Block, catalog: Any) -> Block:
        """The block of that dotted name, whose `model_fields_set` are the keys that the user has set, if it is of
        ingestion. A line of the log tells what was adapted, once a run."""
        chosen = self._loader.chosen(name)
        if block.block == "ingestion":
            given = {key: value for key, value in block if key in type(block).model_fields}
            return type(block).model_construct(_fields_set=chosen, **given)
        method = name.rpartition(".")[0]
        adapted = self._adapted(method, block, chosen, catalog)
        if not adapted.values:
            return block
        shown = name.removeprefix(f"{method}.") if method in IMAGE_METHODS else name
        values = ", ".join(f"{key}={_as_yaml(value)}" for key, value in adapted.values.items())
        line = f"{shown} is adapted, as {adapted.reason}: {values}"
        if line not in self._told:
            self._told.add(line)
            logger.warning("%s", line)
        return block.model_copy(update=adapted.values)

    def check_batch(self, method: str, catalog: Any) -> None:
        """Raises TrainingError where a batch is larger than the data, before their crops are cut."""
        from unlabeled.training.setup import check_batch  # imports torch

        block, summary = catalog.load(f"params:{method}.pretraining"), f"{method}.summary"
        if method not in TEXT_METHODS and catalog.exists(summary):  # those of text have their tokens counted later
            fitted = self.fit(f"{method}.pretraining", block, catalog)
            check_batch(cast(Pretraining, fitted), *_rows_to_train_on(method, catalog.load(summary), catalog))

    def fit_methods(self, parameters: dict[str, Any], catalog: Any) -> dict[str, Any]:
        """All parameters, in which those of methods of images are adapted."""
        fitted = dict(parameters)
        for method in IMAGE_METHODS.keys() & parameters.keys():
            for kind in (Augmentation, Pretraining):
                name, values = f"{method}.{kind.block}", fitted[method][kind.block]
                adapted = self._adapted(method, kind.model_validate(values), self._loader.chosen(name), catalog)
                fitted[method] = {**fitted[method], kind.block: {**values, **adapted.values}}
        return fitted

    @staticmethod
    def _adapted(method: str, block: Block, chosen: set[str], catalog: Any) -> Adapted:
        summary = "summary" if method in {"", *IMAGE_METHODS} else f"{method}.summary"
        if not isinstance(block, Augmentation | Pretraining) or not catalog.exists(summary):
            return Adapted({})
        data = catalog.load(summary)
        if isinstance(block, Augmentation):
            return fit_recipe(block, chosen, data["image_size"])
        return fit_batch(block, chosen, *_rows_to_train_on(method, data, catalog)) if method else Adapted({})


def _rows_to_train_on(method: str, summary: Any, catalog: Any) -> tuple[int, str]:
    """The number of rows that a method trains on, and their name in the plural."""
    if method in TEXT_METHODS:
        from unlabeled.text.packing import windows_in  # imports torch

        record = catalog.load(f"{method}.sequences_of") if catalog.exists(f"{method}.sequences_of") else {}
        return windows_in(record["tokens"], record["sequence_length"]) if record else 0, "sequences"
    unit = "images" if method in IMAGE_METHODS else "pairs" if method in PAIR_METHODS else "clips"
    if method in IMAGE_METHODS and load_method(method).supervised:
        labelled = [by_split.get("train", 0) for name, by_split in summary["counts"].items() if name]
        return sum(labelled), "labelled images"
    return summary["splits"].get("train", 0), unit


def _as_yaml(value: Any) -> str:
    return str([round(each, 3) for each in value] if isinstance(value, tuple) else value)
