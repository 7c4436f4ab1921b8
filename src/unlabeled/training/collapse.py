"""The end of a training whose embedding has become one point, or whose loss is no number."""

import logging
import math

from unlabeled.config import Pretraining
from unlabeled.errors import TrainingError

logger = logging.getLogger(__name__)

REMEDY = "try a tenth of pretraining.learning_rate, a longer pretraining.warmup_epochs, or pretraining.clip_gradient=1"
"""Where numbers are not finite."""


def stop_if_not_finite(losses: list[float], step: int, rate: float) -> None:
    """Raises TrainingError where one of the last losses, that of a step at a learning rate, is not finite."""
    if math.isfinite(sum(losses)):
        return
    back = next(i for i, loss in enumerate(reversed(losses)) if not math.isfinite(loss))
    raise TrainingError(
        f"the loss is {losses[-1 - back]} at step {step - back}, at a learning rate of {rate:.2g}: {REMEDY}"
    )


def stop_if_collapsed(
    row: dict[str, float], earlier: list[dict[str, float]], step: int, rate: float, config: Pretraining
) -> None:
    """Raises TrainingError where a spread is that of a collapse, as it was at the look before: one may be a dip.

    Args:
        row: Of this look.
        earlier: Rows of the history that count, with a look or without; of a resumed run, too.
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
    """The spread of the embedding; of several kinds of data, that of each."""
    names = (name for name in row if name.endswith("embedding_std") and not name.startswith("untrained"))
    return {name: row[name] for name in names}
