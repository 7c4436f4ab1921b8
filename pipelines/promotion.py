"""The gate: a challenger becomes champion where it is surely better, on the same images, and worse on no class."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from pipelines import registry
from pipelines.provenance import ANSWERS, MANIFEST
from unlabeled.config import Evaluation, Pretraining, Registration
from unlabeled.errors import UnlabeledError

ATTEMPTS = 3
"""How often a version is judged while others crown theirs."""


class Decision(NamedTuple):
    """What the gate decided, why in words, and the numbers that it decided by."""

    promoted: bool
    reason: str
    numbers: dict[str, float | str] = {}  # noqa: RUF012
    drift: dict[str, Any] = {}  # noqa: RUF012
    """How today's data differ from the champion's, as `unlabeled.drift.summarise` has it; empty: they do not."""


def contest(
    client: MlflowClient,
    name: str,
    number: str,
    judged: Callable[[ModelVersion | None], Decision],
    noted: Callable[[Decision], None],
) -> Decision:
    """Crowns a version that is judged to be better than the champion, whoever that is at the time.

    Another machine may crown one of its own in between: both were better than the champion before, and are judged anew.

    Args:
        judged: The decision on the version, against a champion or none.
        noted: Called with each decision, before it has any effect.
    """
    for _ in range(ATTEMPTS):
        champion = registry.champion(client, name)
        decision = judged(champion)
        noted(decision)
        if not decision.promoted:
            return decision
        if _number(registry.champion(client, name)) == _number(champion):
            registry.crown(client, name, number)
            return decision
    decision = Decision(False, "others became champion each time that it was judged: run the stage registration again")
    noted(decision)
    return decision


def judge(
    champion: ModelVersion | None,
    metrics: dict[str, Any],
    answers: pd.DataFrame,
    data: Any,
    manifest: pd.DataFrame,
    classes: list[str],
    tags: dict[str, Any],
    pretraining: Pretraining,
    evaluation: Evaluation,
    config: Registration,
) -> Decision:
    """Whether the model with these metrics, answers and tags takes the place of the champion.

    Args:
        answers: To the test images, as `unlabeled.evaluate.predict` makes them.
        data: What an encoder embeds: images or texts, row by row of the manifest.
    """
    spread = metrics["embedding_std"]
    if pretraining.is_collapsed(spread, metrics.get("untrained_embedding_std")):
        return Decision(False, f"its embedding has collapsed (standard deviation {spread:.3f})")
    if champion is None:
        return Decision(True, "there was no champion")
    same = [champion.tags.get(key) == str(tags[key]) for key in ("data_digest", "protocol")]
    measured, drift = "", {}
    try:
        incumbent = registry.recorded(champion, ANSWERS) if all(same) else None
        if incumbent is None:
            from unlabeled.encoders import load_encoder  # imports torch

            encoder = load_encoder(registry.download(champion))
            if reason := encoder.misfit(data):
                return Decision(True, f"version {champion.version} {reason}")
            measured = ", measured again on today's data and protocol"
            features = encoder.embed(data)
            drift = {} if same[0] else _drift(champion, manifest, features, data)
            incumbent = _answers(features, manifest, evaluation)
    except registry.GoneError as error:
        return Decision(True, str(error))
    except UnlabeledError as error:  # damage and outages crown nobody
        return Decision(False, f"version {champion.version} stays, for it could not be measured: {error}")
    if answers.empty:
        reason = f"without labels it cannot be compared with version {champion.version}"
        return Decision(False, f"{reason}: kedro promote crowns it by hand", drift=drift)
    decision = _weigh(answers, incumbent, classes, f"of version {champion.version}{measured}", config)
    return decision._replace(drift=drift)


def _number(version: ModelVersion | None) -> str | None:
    return None if version is None else str(version.version)


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


def _drift(champion: ModelVersion, manifest: pd.DataFrame, features: np.ndarray, data: Any) -> dict[str, Any]:
    from unlabeled.drift import summarise

    before = registry.recorded(champion, MANIFEST)
    images = data if getattr(data, "ndim", 0) == 4 else None
    return {} if before is None else summarise(before, manifest, features, images)


def _answers(features: np.ndarray, manifest: pd.DataFrame, evaluation: Evaluation) -> pd.DataFrame:
    """Of a probe of today's data on an encoder's features; none where there are too few labels."""
    from unlabeled.evaluate import predict
    from unlabeled.probe import Labels, fit_linear_probe

    labels = Labels.of(manifest)
    probe = fit_linear_probe(features, labels, evaluation) if labels.suffice() else None
    return predict(probe, features, manifest)
