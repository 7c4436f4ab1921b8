"""The gate: a champion beats every baseline, is surely better than the one before, and surely worse on no class."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from pipelines.registry import versions as registry
from pipelines.registry.provenance import ANSWERS, MANIFEST
from unlabeled.config import Evaluation, Registration
from unlabeled.errors import UnlabeledError
from unlabeled.evaluation.significance import chance_of_gain, fewest_wins, gains_of, level_left, paired_difference
from unlabeled.evaluation.verdict import Worth
from unlabeled.runtime.counts import counted

ATTEMPTS = 3
"""How often a version is judged while others crown theirs."""
CLASS_LEVEL = 0.05
"""Chance that a challenger that is worse on no class is blocked by any."""
SAMPLE, TEST_SAMPLE = 16, "test_sample"
"""How many of the test images a version's tag of that name lists: those whose contents come first."""
P_VALUE = "gate.p_value"
"""The tag of versions that test images have compared with a champion."""


class Decision(NamedTuple):
    """What the gate decided, why in words, and the numbers that it decided by."""

    promoted: bool
    reason: str
    numbers: dict[str, float | str] = {}  # noqa: RUF012
    drift: dict[str, Any] = {}  # noqa: RUF012
    """How today's data differ from the champion's, as `drift.summarise` has it; empty: they do not."""


def run_gate(
    client: MlflowClient,
    name: str,
    number: str,
    decide: Callable[[ModelVersion | None], Decision],
    record_decision: Callable[[Decision], None],
) -> Decision:
    """Crowns a version that is judged to be better than the champion, whoever that is at the time.

    Another machine may crown one of its own in between: both were better than the champion before. Whoever finds on
    looking again that the champion is another than it was judged against, before crowning or after it, is judged anew.

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
        # The overlooked version has been reported as the champion: it stays in the history.
        registry.set_champion(client, name, overlooked[-1], [*before, *overlooked])
    decision = Decision(False, "others became champion each time that it was judged: run the stage registration again")
    record_decision(decision)
    return decision


def sample_images(answers: pd.DataFrame) -> str:
    """Some of the test images, the same ones for the same images: what `count_comparisons` recognises them by."""
    return " ".join(sorted({content[:8] for content in answers.sha256})[:SAMPLE])


def count_comparisons(versions: Iterable[ModelVersion], sample: str) -> int:
    """How many of these versions were compared with a champion on test images of which most are the same."""
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
    """Whether the model with these answers and tags takes the place of the champion.

    Args:
        worth: Of that model by itself.
        comparisons: How many challengers were compared with a champion on these test images before.
        answers: To the test images, as `unlabeled.evaluation.protocol.predict` makes them.
        data: What an encoder embeds: images or texts, row by row of the manifest.
    """
    if not worth.alive:
        return Decision(False, "a champion has to tell inputs apart")
    if config.must_beat_baselines and not worth.better:
        return Decision(False, "a champion has to be better than every baseline (registration.must_beat_baselines)")
    if champion is None:
        return Decision(True, "there was no champion")
    name = f"version {champion.version}"
    same = [champion.tags.get(key) == str(tags[key]) for key in ("data_digest", "protocol")]
    measured, drift = "", {}
    try:
        registry.check_files(champion)  # answers on record are of no use without a model that can be loaded
        incumbent = registry.recorded(champion, ANSWERS) if all(same) else None
        if incumbent is None:
            from unlabeled.encoders import load_encoder  # imports torch

            encoder = load_encoder(registry.download(champion))
            if reason := encoder.misfit(data):
                return Decision(True, f"{name} {reason}")
            measured = ", measured again on today's data and protocol"
            features = encoder.embed(data)
            drift = {} if same[0] else _drift(champion, manifest, features, data)
            unseen, before = _unseen(champion, manifest), len(answers)
            incumbent = _answers(features, manifest, evaluation)
            incumbent, answers = (each[unseen[each.row]] for each in (incumbent, answers))
            if len(answers) < before:
                measured += f", without the {before - len(answers)} of {before} test images that it was trained on"
                if _too_few(answers, level_left(config.level, comparisons)):
                    reason = f"it cannot be compared with {name}{measured}: the {len(answers)} left are too few"
                    return Decision(False, f"{reason}; kedro promote crowns it by hand", drift=drift)
    except registry.GoneError as error:
        return Decision(True, str(error))
    except UnlabeledError as error:  # damage and outages crown nobody
        return Decision(False, f"{name} stays, for it could not be measured: {error}")
    if answers.empty:
        reason = f"without labels it cannot be compared with {name}"
        return Decision(False, f"{reason}: kedro promote crowns it by hand", drift=drift)
    decision = _compare(answers, incumbent, classes, name, measured, comparisons, config)
    return decision._replace(drift=drift)


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
) -> Decision:
    """By the linear probes' answers to the same test images.

    Args:
        name: Of the champion, in words.
        measured: How the champion was measured, to follow its name.
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
    for drop in drops:
        if drop.blocks:
            limit = f"registration.max_class_drop={config.max_class_drop:g}"
            worse = f"{drop.name} is told {100 * drop.share:.1f} points worse (p = {drop.p_value:.2g}; {limit})"
            return Decision(False, f"{compared}; but {worse}", numbers)
    return Decision(True, compared, numbers)


class _Drop(NamedTuple):
    """By how much a class is told worse, as a share of its test images, and how likely that is by chance."""

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
    """Those of all classes, the largest first."""
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
    """Which rows the champion was trained on neither themselves, nor on a copy or others of their group, bool (N,)."""
    before = registry.recorded(champion, MANIFEST)
    if before is None:
        return np.ones(len(manifest), bool)
    learned = before[before.split == "train"]
    known = [key for key in ("sha256", "checksum", "group") if key in manifest and key in learned]
    return ~np.any([manifest[key].isin(learned[key]) for key in known], axis=0)


def _too_few(answers: pd.DataFrame, level: float) -> bool:
    """Whether no challenger could be surely better by answers to so few groups."""
    from unlabeled.evaluation.protocol import in_order  # imports torch

    return in_order(answers).group.nunique() < fewest_wins(level)


def _answers(features: np.ndarray, manifest: pd.DataFrame, evaluation: Evaluation) -> pd.DataFrame:
    """Of a probe of today's data on an encoder's features; none where there are too few labels."""
    from unlabeled.evaluation.probe import Labels, fit_linear_probe
    from unlabeled.evaluation.protocol import predict

    labels = Labels.of(manifest)
    probe = fit_linear_probe(features, labels, evaluation) if labels.suffice() else None
    return predict(probe, features, manifest)
