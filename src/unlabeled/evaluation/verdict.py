"""Verdict on an encoder: the accuracies by number of labels, and the sentences that follow from them.

Page, model card, gate, `kedro champion` and the terminal all describe a run in the words of `worth`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from unlabeled.config import Pretraining, in_words
from unlabeled.evaluation.significance import EFFECTIVE, wilson_interval
from unlabeled.ingestion.groups import contents
from unlabeled.records import Accuracies, Measured, Metrics

BASELINE_NAMES = {"raw_input": "raw pixels", "random_encoder": "a random encoder", "pca": "PCA", "tfidf": "TF-IDF"}
"""Names of the baselines in sentences."""
MAX_TELLING_CHANCE = 0.5
"""Largest recall by chance beside which a recall is shown, if there is a smaller one."""


@dataclass(frozen=True)
class Accuracy:
    """A test accuracy in [0, 1], with its interval and the labels that it was measured with."""

    labels: float
    """Labels a class, on average."""
    setting: str
    """The number of labels in words."""
    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.mean:.0f}\u00a0±\u00a0{50 * (self.high - self.low):.0f}\u00a0%"


class Worth(NamedTuple):
    """The verdict on an encoder by itself, independent of the champion.

    Attributes:
        words: The verdict, which opens every description of a run or version; in lower case and without a full stop.
        alive: Whether it tells inputs apart at all.
        better: Whether it beats every baseline with some number of labels; True where that cannot be tested.
    """

    words: str
    alive: bool = True
    better: bool = True


def over_draws(labels: float, setting: str, each: dict[str, float], tested: int | None = None) -> Accuracy:
    """Mean ± std over draws of the labels, from `mean` and `std`.

    Args:
        tested: Number of labelled test images. All draws are tested on the same ones, so the interval is never narrower
            than their 95 % interval, which is wider for grouped images. None: the interval is from std alone.
    """
    mean, std = each["mean"], each["std"]
    low, high = (mean, mean) if tested is None else wilson_interval(mean, each.get(EFFECTIVE, tested))
    return Accuracy(labels, setting, mean, min(low, mean - std), max(high, mean + std))


def curve(numbers: Accuracies, labelled: int, classes: int, tested: int) -> list[Accuracy]:
    """Accuracies from the fewest labels to all of them; none where there are no labels.

    Few labels a class: `over_draws`. (Fractions of all labels are left out: some draws miss a class.) All labels: the
    linear probe, with the 95 % interval for that number of test images.

    Args:
        numbers: `few_label` and `linear_probe_accuracy`, as in metrics.json.
        labelled: Number of labelled training images.
        classes: Number of classes.
        tested: Number of labelled test images.
    """
    points = []
    for setting, each in numbers["few_label"].items():
        if not setting.endswith("%"):
            points.append(over_draws(float(setting), in_words(setting), each, tested))
    if (accuracy := numbers["linear_probe_accuracy"]) is not None:
        interval = wilson_interval(accuracy, numbers.get(EFFECTIVE, tested))
        points.append(Accuracy(labelled / classes, "all labels", accuracy, *interval))
    return sorted(points, key=lambda point: point.labels)


def all_curves(metrics: Measured, labelled: int, classes: int, tested: int) -> dict[str, list[Accuracy]]:
    """The curve of the `encoder` and of each baseline, by name."""
    kinds = {"encoder": metrics, **metrics["baselines"]}
    return {name: curve(numbers, labelled, classes, tested) for name, numbers in kinds.items()}


def worth(metrics: Metrics, manifest: pd.DataFrame, config: Pretraining, unit: str = "images") -> Worth:
    """The verdict on an encoder with these metrics.

    Args:
        manifest: Manifest of the data that it was measured on.
        unit: Name of the data in the plural.
    """
    spread = f"(standard deviation {metrics['embedding_std']:.3f}, where 1 is as spread as can be)"
    if config.is_collapsed(metrics["embedding_std"], metrics.get("untrained_embedding_std")):
        return Worth(f"its embedding has collapsed {spread}", alive=False)
    found = _by_labels(metrics, manifest, unit, spread)
    if "text" not in manifest or not metrics.get("retrieval"):
        return found
    words, learned = _retrieval(metrics["retrieval"], manifest.text[manifest.split == "test"])
    return Worth(f"{words}; {found.words}", found.alive, found.better and learned)


def _retrieval(found: dict[str, Any], texts: pd.Series) -> tuple[str, bool]:
    """How often a caption finds its image, beside chance, and whether it is clearly more often.

    Args:
        texts: Captions of the test images.
    """
    chances = found["baselines"]["chance"]["text_to_image"]
    # Among few images, many are found by chance.
    k = next(k for k in (10, 5, 1) if k == 1 or chances[f"recall_at_{k}"] <= MAX_TELLING_CHANCE)
    mine, chance = found["text_to_image"][f"recall_at_{k}"], chances[f"recall_at_{k}"]
    learned = wilson_interval(mine, texts.nunique())[0] > chance
    among = "first of all" if k == 1 else f"among the first {k}"
    words = f"a caption finds its image {among} in {mine:.1%} of the tests, by chance in {chance:.1%}"
    return words if learned else f"{words}: nothing was clearly learned", learned


def _by_labels(metrics: Metrics, manifest: pd.DataFrame, unit: str, spread: str) -> Worth:
    """The verdict by accuracies, where there are labels."""
    from unlabeled.evaluation.probe import Labels, why_untested  # imports torch

    if reason := why_untested(manifest, unit):
        different = contents(manifest).nunique()
        if different <= 2:
            return Worth(f"{reason}, and {different} different {unit} say nothing of an encoder", alive=False)
        return Worth(f"{reason}, and its embedding is alive {spread}")
    points = all_curves(metrics, *Labels.of(manifest).counts())
    return compared(points.pop("encoder"), points)


def compared(encoder: list[Accuracy], baselines: dict[str, list[Accuracy]]) -> Worth:
    """The numbers of labels with which an encoder beats every baseline: its interval lies above all of theirs.

    Args:
        encoder: The encoder's curve.
        baselines: Curves of the baselines at the same settings, by name.
    """
    settings = zip(*baselines.values(), strict=True)
    pays = [mine.low > max(each.high for each in theirs) for mine, theirs in zip(encoder, settings, strict=True)]
    if all(pays):
        return Worth("better than every baseline with any number of labels that was tried, all of them included")
    if not any(pays):
        words = "not clearly better than the baselines with any number of labels"
        return Worth(f"{words}{_worse(encoder, baselines)}", better=False)
    better = [point for point, pay in zip(encoder, pays, strict=True) if pay]
    if all(pays[: len(better)]):
        most = better[0].setting if len(better) == 1 else f"up to {better[-1].setting}"
        return Worth(f"better than every baseline with {most}, and not clearly with more")
    names = ", ".join(point.setting for point in better)
    return Worth(f"better than every baseline with {names}, and not clearly elsewhere")


def _worse(encoder: list[Accuracy], baselines: dict[str, list[Accuracy]]) -> str:
    """A clause about the baseline that is furthest above an encoder, where its interval lies above the encoder's."""
    gaps = [
        (theirs.low - mine.high, name, mine.setting)
        for name, points in baselines.items()
        for mine, theirs in zip(encoder, points, strict=True)
    ]
    gap, name, setting = max(gaps)
    return f", and clearly worse than {BASELINE_NAMES.get(name, name)} with {setting}" if gap > 0 else ""


def with_fewest_labels(encoder: list[Accuracy], baselines: dict[str, list[Accuracy]]) -> str:
    """A sentence, without full stop, of the accuracies of the encoder and the best baseline with the fewest labels."""
    name, rival = max(((name, points[0]) for name, points in baselines.items()), key=lambda pair: pair[1].mean)
    return (
        f"With {encoder[0].setting} the encoder gets {encoder[0]} where the best baseline, "
        f"{BASELINE_NAMES.get(name, name)}, gets {rival}"
    )


def selection(judged: int) -> str:
    """A sentence on how the champion's accuracy is biased by its selection among `judged` challengers; empty for
    none."""
    if not judged:
        return ""
    many = "a challenger" if judged == 1 else f"{judged} challengers"
    return (
        f"These test images have judged {many}: the champion's accuracy on them was selected, and new images are "
        f"likely to show a lower one."
    )
