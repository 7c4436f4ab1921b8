"""The gate decides whether a version becomes the champion.

A new champion beats every baseline, is significantly better than the last one, and significantly worse on no class.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from pipelines.registry import versions as registry
from pipelines.registry.provenance import ANSWERS, MANIFEST, METRICS
from unlabeled.config import Evaluation, Pretraining, Registration
from unlabeled.errors import UnlabeledError
from unlabeled.evaluation.significance import chance_of_gain, fewest_wins, gains_of, level_left, paired_difference
from unlabeled.evaluation.verdict import Worth, worth
from unlabeled.runtime.counts import counted

ATTEMPTS = 3
"""Largest number of comparisons of one version, while other runs change the champion."""
CLASS_LEVEL = 0.05
"""Largest probability that a challenger which is worse on no class is blocked by any class."""
SAMPLE, TEST_SAMPLE = 16, "test_sample"
"""Number of test images that identify a test set, those with the smallest hashes; the tag that lists them."""
P_VALUE = "gate.p_value"
"""The tag with the p-value of a version that was compared with a champion on test images."""


class Decision(NamedTuple):
    """A decision of the gate: the outcome, the reason in words, and the numbers behind it."""

    promoted: bool
    reason: str
    numbers: dict[str, float | str] = {}  # noqa: RUF012
    drift: dict[str, Any] = {}  # noqa: RUF012
    """The drift from the champion's data, by `drift.summarise`; empty: none."""


def run_gate(
    client: MlflowClient,
    name: str,
    number: str,
    decide: Callable[[ModelVersion | None], Decision],
    record_decision: Callable[[Decision], None],
) -> Decision:
    """Makes a version the champion where the gate decides so.

    Another machine may set its own champion in between. The alias is therefore read again before and after it is set:
    where the champion is not the version that this one was compared with, the comparison is repeated.

    Args:
        decide: Compares the version with a champion, or with none.
        record_decision: Called with each decision, before it has any effect.
    """
    for _ in range(ATTEMPTS):
        champion, before = registry.champion(client, name), registry.champion_history(client, name)
        decision = decide(champion)
        record_decision(decision)
        if _number(registry.champion(client, name)) != _number(champion):
            continue
        if not decision.promoted:
            return decision
        registry.set_champion(client, name, number)
        if _number(registry.champion(client, name)) != number:
            continue
        overlooked = [each for each in registry.champion_history(client, name)[len(before) : -1] if each != number]
        if not overlooked:
            return decision
        # Another version became champion first: it gets the alias back, and is compared with.
        registry.set_champion(client, name, overlooked[-1], [*before, *overlooked])
    decision = Decision(False, "others became champion each time that it was judged: run the stage registration again")
    record_decision(decision)
    return decision


def sample_images(answers: pd.DataFrame) -> str:
    """The shortened hashes of a few test images, by which `count_comparisons` recognises the test set."""
    return " ".join(sorted({content[:8] for content in answers.sha256})[:SAMPLE])


def count_comparisons(versions: Iterable[ModelVersion], sample: str) -> int:
    """Number of these versions that were compared with a champion on mostly the same test images."""
    mine = set(sample.split())
    theirs = [set(each.tags.get(TEST_SAMPLE, "").split()) for each in versions if P_VALUE in each.tags]
    return sum(2 * len(mine & each) > len(mine) for each in theirs)


def judge(
    champion: ModelVersion | None,
    worth: Worth,
    comparisons: int,
    answers: pd.DataFrame,
    data: Any,
    manifest: pd.DataFrame,
    classes: list[str],
    tags: dict[str, Any],
    evaluation: Evaluation,
    config: Registration,
) -> Decision:
    """Decides whether a challenger becomes the champion.

    Args:
        champion: The present champion; None: there is none.
        worth: The challenger's comparison with its baselines.
        comparisons: Number of earlier challengers that were compared with a champion on these test images.
        answers: The challenger's predictions for the test images, by `unlabeled.evaluation.protocol.predict`.
        data: The inputs of the encoder, such as images or texts, one for each row of the manifest.
        tags: The challenger's tags.
    """
    if not worth.alive:
        return Decision(False, "a champion has to distinguish its inputs")
    if config.must_beat_baselines and not worth.better:
        return Decision(False, "a champion has to be better than every baseline (registration.must_beat_baselines)")
    if champion is None:
        unproven = "" if worth.better else ", and registration.must_beat_baselines=false asks for nothing more"
        return Decision(True, f"there was no champion{unproven}")
    name = f"version {champion.version}"
    same = [champion.tags.get(key) == str(tags[key]) for key in ("data_digest", "protocol")]
    measured, drift = "", {}
    try:
        registry.check_files(champion)  # recorded predictions do not count if the model cannot be loaded
        incumbent = registry.recorded(champion, ANSWERS) if all(same) else None
        if incumbent is None:
            from unlabeled.encoders import load_encoder  # imports torch

            encoder = load_encoder(registry.download(champion))
            if reason := encoder.misfit(data):
                return Decision(True, f"{name} {reason}")
            measured = ", measured again on today's data and protocol"
            features = encoder.embed(data)
            drift = {} if same[0] else _drift(champion, manifest, features, data)
            if drift and champion.tags.get(registry.WEIGHTS) == tags.get(registry.WEIGHTS, ""):
                reason = f"its encoder is that of {name}, and only its measurement on today's data is new"
                return Decision(False, f"{reason}: kedro promote makes it the champion", drift=drift)
            unseen, before = _unseen(champion, manifest), len(answers)
            incumbent = _answers(features, manifest, evaluation)
            incumbent, answers = (each[unseen[each.row]] for each in (incumbent, answers))
            if len(answers) < before:
                measured += f", without the {before - len(answers)} of {before} test images that it was trained on"
                if _too_few(answers, level_left(config.level, comparisons)):
                    reason = f"it cannot be compared with {name}{measured}: the {len(answers)} left are too few"
                    return Decision(False, f"{reason}; kedro promote makes it the champion", drift=drift)
        protected = _beats_baselines(champion)
    except registry.GoneError as error:
        return Decision(True, str(error))
    except UnlabeledError as error:  # damage and outages change no champion
        return Decision(False, f"{name} stays, for it could not be measured: {error}")
    if answers.empty:
        reason = f"without labels it cannot be compared with {name}"
        return Decision(False, f"{reason}: kedro promote makes it the champion", drift=drift)
    decision = _compare(answers, incumbent, classes, name, measured, comparisons, config, protected)
    return decision._replace(drift=drift)


def _beats_baselines(champion: ModelVersion) -> bool:
    """Whether a champion beats its own baselines, by its record; True where that is not recorded.

    An encoder that gives most images to one class is right about that class. No better one would be as right about it.
    """
    metrics, manifest = registry.recorded(champion, METRICS), registry.recorded(champion, MANIFEST)
    if metrics is None or manifest is None:
        return True
    its_own = worth(metrics, manifest, Pretraining())
    return its_own.alive and its_own.better


def _number(version: ModelVersion | None) -> str | None:
    return None if version is None else str(version.version)


def _compare(
    challenger: pd.DataFrame,
    champion: pd.DataFrame,
    classes: list[str],
    name: str,
    measured: str,
    comparisons: int,
    config: Registration,
    protected: bool = True,
) -> Decision:
    """Compares the predictions of two linear probes for the same test images.

    Args:
        name: The champion in words, such as "version 3".
        measured: Words that follow the name and say how the champion was measured.
        protected: Whether a loss on one of its classes blocks the challenger.
    """
    from unlabeled.evaluation.protocol import in_order  # imports torch

    challenger = in_order(challenger)
    new, old, groups = challenger.right.to_numpy(), in_order(champion).right.to_numpy(), challenger.group.to_numpy()
    gain, level = paired_difference(new, old, groups), level_left(config.level, comparisons)
    fewest = fewest_wins(level)
    numbers: dict[str, float | str] = {
        "gate.difference": gain.mean,
        "gate.low": gain.low,
        "gate.high": gain.high,
        P_VALUE: gain.p_value,
        "gate.level": level,
        "gate.smallest_gain": fewest / len(new),
    }
    drops = _drops(new, old, challenger.target.to_numpy(), groups, classes, config)
    numbers |= {"gate.worst_class": drops[0].name, "gate.worst_drop": drops[0].share}
    compared = f"linear probe {new.mean():.4f} against {old.mean():.4f} of {name}{measured}: {gain}"
    if gain.mean <= 0 or gain.p_value >= level:
        asked = f"+{100 * fewest / len(new):.1f} points; registration.level={config.level:g}"
        if comparisons:
            asked += f", of which {level:.2g} is left for challenger {comparisons + 1} on these test images"
        there, wrong = len(np.unique(groups)), len(np.unique(groups[~old]))
        images, apart, errors = counted(len(new), "test images"), "", f"about {wrong} of them"
        if there < len(new):
            images += f" in {counted(there, 'groups')}"
            apart, errors = ", each in another group", f"in {wrong} of them"
        least = f"takes at least {counted(fewest, 'more right answers')}{apart} ({asked})"
        if gain.mean >= 0 and wrong < fewest:
            cannot = f"these {images} cannot tell, for {name} is wrong {errors}"
            return Decision(False, f"{compared}; {cannot}, and to be sure {least}", numbers)
        return Decision(False, f"{compared}, which is not surely better: that {least}", numbers)
    if blocking := [drop for drop in drops if drop.blocks]:
        drop, limit = blocking[0], f"registration.max_class_drop={config.max_class_drop:g}"
        worse = f"{drop.name} is told {100 * drop.share:.1f} points worse (p = {drop.p_value:.2g}; {limit})"
        if protected:
            return Decision(False, f"{compared}; but {worse}", numbers)
        unearned = f"which does not count, for {name} itself is not clearly better than its baselines"
        return Decision(True, f"{compared}; {worse}, {unearned}", numbers)
    return Decision(True, compared, numbers)


class _Drop(NamedTuple):
    """The loss of accuracy on a class, as a share of its test images, and its p-value."""

    name: str
    share: float
    p_value: float
    blocks: bool


def _drops(
    new: np.ndarray,
    old: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray,
    classes: list[str],
    config: Registration,
) -> list[_Drop]:
    """The loss of accuracy on each class, the largest first."""
    drops, there = [], np.unique(targets)
    for target in there:
        of_class = targets == target
        lost = gains_of(old[of_class], new[of_class], groups[of_class])
        share, p_value = float(lost.sum() / of_class.sum()), chance_of_gain(lost)
        blocks = share > config.max_class_drop and p_value < CLASS_LEVEL / len(there)
        drops.append(_Drop(classes[target], share, p_value, blocks))
    return sorted(drops, key=lambda drop: -drop.share)


def _drift(champion: ModelVersion, manifest: pd.DataFrame, features: np.ndarray, data: Any) -> dict[str, Any]:
    from unlabeled.evaluation.drift import summarise

    before = registry.recorded(champion, MANIFEST)
    images = data if getattr(data, "ndim", 0) == 4 else None
    return {} if before is None else summarise(before, manifest, features, images)


def _unseen(champion: ModelVersion, manifest: pd.DataFrame) -> np.ndarray:
    """Rows, bool (N,), of which the champion's train split holds neither the row, nor a copy, nor its group."""
    before = registry.recorded(champion, MANIFEST)
    if before is None:
        return np.ones(len(manifest), bool)
    learned = before[before.split == "train"]
    known = [key for key in ("sha256", "checksum", "group") if key in manifest and key in learned]
    return ~np.any([manifest[key].isin(learned[key]) for key in known], axis=0)


def _too_few(answers: pd.DataFrame, level: float) -> bool:
    """Whether the test images have too few groups for any challenger to be significantly better."""
    from unlabeled.evaluation.protocol import in_order  # imports torch

    return in_order(answers).group.nunique() < fewest_wins(level)


def _answers(features: np.ndarray, manifest: pd.DataFrame, evaluation: Evaluation) -> pd.DataFrame:
    """Predictions for the test images by a new probe on these features; empty where there are too few labels."""
    from unlabeled.evaluation.probe import Labels, fit_linear_probe
    from unlabeled.evaluation.protocol import predict

    labels = Labels.of(manifest)
    probe = fit_linear_probe(features, labels, evaluation) if labels.suffice() else None
    return predict(probe, features, manifest)
