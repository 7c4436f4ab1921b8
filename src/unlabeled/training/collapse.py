"""Early end of a training whose embedding has collapsed, or whose loss is not finite."""

import logging
import math

from unlabeled.config import Pretraining
from unlabeled.errors import TrainingError

logger = logging.getLogger(__name__)

REMEDY = "try a tenth of pretraining.learning_rate, a longer pretraining.warmup_epochs, or pretraining.clip_gradient=1"
"""Advice where losses or embeddings are not finite."""


def check_finite(losses: list[float], step: int, rate: float) -> None:
    """Raises TrainingError where one of the latest losses, up to that of a step, is not finite; `rate`: its learning
    rate."""
    if math.isfinite(sum(losses)):
        return
    back = next(i for i, loss in enumerate(reversed(losses)) if not math.isfinite(loss))
    raise TrainingError(
        f"the loss is {losses[-1 - back]} at step {step - back}, at a learning rate of {rate:.2g}: {REMEDY}"
    )


def check_not_collapsed(
    row: dict[str, float], earlier: list[dict[str, float]], step: int, rate: float, config: Pretraining
) -> None:
    """Raises TrainingError where a spread has collapsed at two measurements in a row: a single one may be a dip.

    Args:
        row: Row of this measurement.
        earlier: Earlier rows of the history that count, with a measurement or without, also of a resumed run.
    """
    before = next((each for each in reversed(earlier) if spreads_of(each)), {})
    for name, spread in spreads_of(row).items():
        if not _is_collapsed(name, row, config):
            continue
        what = name.removesuffix("_std").replace("_", " ")
        said = (
            f"the {what} has collapsed at step {step}, at a learning rate of {rate:.2g}: its standard deviation is "
            f"{spread:.3f}, below pretraining.min_embedding_std={config.min_embedding_std:g}"
        )
        if not _is_collapsed(name, before, config):
            logger.warning("%s; at a second look in a row after the warm-up the run ends", said)
            continue
        raise TrainingError(
            f"{said}, as it was at the look before ({before[name]:.3f}); try a lower pretraining.learning_rate, a "
            f"larger pretraining.batch_size, or a weaker pretraining.weight_decay"
        )


def _is_collapsed(name: str, row: dict[str, float], config: Pretraining) -> bool:
    return name in row and config.is_collapsed(row[name], row.get(f"untrained_{name}"))


def spreads_of(row: dict[str, float]) -> dict[str, float]:
    """The spread of the embedding; with several kinds of data, that of each."""
    names = (name for name in row if name.endswith("embedding_std") and not name.startswith("untrained"))
    return {name: row[name] for name in names}
