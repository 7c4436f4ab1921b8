"""The gate: a challenger becomes champion where it is surely better, on the same images, and worse on no class."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from pipelines import registry
from unlabeled.config import Evaluation, Pretraining, Registration
from unlabeled.errors import UnlabeledError

ANSWERS = "predictions.parquet"
"""The artifact of a run that holds its answers to the test images."""
MANIFEST = "manifest.parquet"
"""The artifact of a run that lists its images."""


class Decision(NamedTuple):
    """What the gate decided, why in words, and the numbers that it decided by."""

    promoted: bool
    reason: str
    numbers: dict[str, float | str] = {}  # noqa: RUF012
    drift: dict[str, Any] = {}  # noqa: RUF012
    """How today's data differ from the champion's, as `unlabeled.drift.summarise` has it; empty: they do not."""


def judge(
    client: MlflowClient,
    name: str,
    metrics: dict[str, Any],
    answers: pd.DataFrame,
    images: np.ndarray,
    manifest: pd.DataFrame,
    classes: list[str],
    tags: dict[str, Any],
    pretraining: Pretraining,
    evaluation: Evaluation,
    config: Registration,
) -> Decision:
    """Whether the model with these metrics, answers and tags takes the place of the champion of `name`.

    Args:
        answers: To the test images, as `unlabeled.evaluate.predict` makes them.
    """
    spread = metrics["embedding_std"]
    if pretraining.is_collapsed(spread, metrics.get("untrained_embedding_std")):
        return Decision(False, f"its embedding has collapsed (standard deviation {spread:.3f})")
    champion = registry.champion(client, name)
    if champion is None:
        return Decision(True, "there was no champion")
    same = [champion.tags.get(key) == str(tags[key]) for key in ("data_digest", "protocol")]
    measured, drift = "", {}
    try:
        incumbent = registry.recorded(champion, ANSWERS) if all(same) else None
        if incumbent is None:
            from unlabeled.encoders import load_encoder  # imports torch

            measured = ", measured again on today's data and protocol"
            features = load_encoder(registry.download(champion)).embed(images)
            drift = {} if same[0] else _drift(champion, manifest, features)
            incumbent = _answers(features, manifest, evaluation)
    except UnlabeledError as error:  # made for other images than today's
        return Decision(True, f"version {champion.version} cannot be measured on today's data ({error})")
    except (MlflowException, OSError) as error:  # an outage crowns nobody
        return Decision(False, f"version {champion.version} could not be fetched to be measured ({error})")
    if answers.empty:
        reason = f"without labels it cannot be compared with version {champion.version}"
        return Decision(False, reason, drift=drift)
    decision = _weigh(answers, incumbent, classes, f"of version {champion.version}{measured}", config)
    return decision._replace(drift=drift)


def _weigh(
    challenger: pd.DataFrame, champion: pd.DataFrame, classes: list[str], of_whom: str, config: Registration
) -> Decision:
    """By the linear probes' answers to the same test images."""
    from unlabeled.evaluate import in_order
    from unlabeled.significance import paired_bootstrap

    challenger = in_order(challenger)
    right = {"new": challenger.right.to_numpy(), "old": in_order(champion).right.to_numpy()}
    gain = paired_bootstrap(right["new"], right["old"])
    by_class = pd.DataFrame({"target": challenger.target, **right}).groupby("target").mean()
    drops = by_class["old"] - by_class["new"]
    worst, drop = classes[int(drops.idxmax())], float(drops.max())
    numbers = {
        "gate.difference": gain.mean,
        "gate.low": gain.low,
        "gate.high": gain.high,
        "gate.p_value": gain.p_value,
        "gate.worst_class": worst,
        "gate.worst_drop": drop,
    }
    compared = (
        f"linear probe {right['new'].mean():.4f} against {right['old'].mean():.4f} {of_whom}: {100 * gain.mean:+.1f} "
        f"points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}], p = {gain.p_value:.2g}"
    )
    if gain.mean <= 0 or gain.p_value >= config.level:
        return Decision(False, f"{compared}, which is not surely better (registration.level={config.level:g})", numbers)
    if drop > config.max_class_drop:
        limit = f"registration.max_class_drop={config.max_class_drop:g}"
        return Decision(False, f"{compared}; but {worst} is told {100 * drop:.1f} points worse ({limit})", numbers)
    return Decision(True, compared, numbers)


def _drift(champion: ModelVersion, manifest: pd.DataFrame, features: np.ndarray) -> dict[str, Any]:
    from unlabeled.drift import summarise

    before = registry.recorded(champion, MANIFEST)
    return {} if before is None else summarise(before, manifest, features)


def _answers(features: np.ndarray, manifest: pd.DataFrame, evaluation: Evaluation) -> pd.DataFrame:
    """Of a probe of today's data on an encoder's features; none where there are too few labels."""
    from unlabeled.evaluate import predict
    from unlabeled.probe import Labels, fit_linear_probe

    labels = Labels.of(manifest)
    probe = fit_linear_probe(features, labels, evaluation) if labels.suffice() else None
    return predict(probe, features, manifest)
