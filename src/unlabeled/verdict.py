"""Was it worth it? The numbers by how many labels there are, and two sentences that follow from them."""

from dataclasses import dataclass
from typing import Any

from unlabeled.config import in_words
from unlabeled.significance import wilson_interval

NAMES = {"raw_input": "raw pixels", "random_encoder": "a random encoder", "pca": "PCA", "tfidf": "TF-IDF"}
"""Baselines in words."""


@dataclass(frozen=True)
class Accuracy:
    """A test accuracy with what it was measured at; all in [0, 1], and the interval around it."""

    labels: float
    """A class, on average."""
    setting: str
    """In words."""
    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.mean:.0f}\u00a0±\u00a0{50 * (self.high - self.low):.0f}\u00a0%"


def over_draws(labels: float, setting: str, each: dict[str, float]) -> Accuracy:
    """Mean ± std over draws of the labels, from `mean` and `std`."""
    return Accuracy(labels, setting, each["mean"], each["mean"] - each["std"], each["mean"] + each["std"])


def curve(numbers: dict[str, Any], labelled: int, classes: int, tested: int) -> list[Accuracy]:
    """Accuracies from the fewest labels to all.

    Few labels a class: mean ± std over the draws. (Shares of all labels are left out: some draws miss a class.) All
    labels: the linear probe, and the 95 % interval that the number of test images leaves.

    Args:
        numbers: `few_label` and `linear_probe_accuracy`, as in metrics.json.
        labelled: Training images with a label.
        classes: How many.
        tested: Test images with a label.
    """
    points = []
    for setting, each in numbers["few_label"].items():
        if not setting.endswith("%"):
            points.append(over_draws(float(setting), in_words(setting), each))
    accuracy = numbers["linear_probe_accuracy"]
    points.append(Accuracy(labelled / classes, "all labels", accuracy, *wilson_interval(accuracy, tested)))
    return sorted(points, key=lambda point: point.labels)


def verdict(encoder: list[Accuracy], baselines: dict[str, list[Accuracy]], unit: str = "images") -> str:
    """Two sentences: what the encoder gets with the fewest labels, and up to how many it is worth its training.

    It is worth it where its interval lies above the interval of every baseline.

    Args:
        encoder: Its curve.
        baselines: Theirs, at the same settings.
        unit: What the data are, in the plural.
    """
    settings = zip(*baselines.values(), strict=True)
    pays = [mine.low > max(each.high for each in theirs) for mine, theirs in zip(encoder, settings, strict=True)]
    name, rival = max(((name, points[0]) for name, points in baselines.items()), key=lambda pair: pair[1].mean)
    first = (
        f"With {encoder[0].setting} the encoder gets {encoder[0]} where the best baseline, {NAMES.get(name, name)}, "
        f"gets {rival}"
    )
    return f"{first}. {_worth(encoder, pays, unit)}."


def _worth(encoder: list[Accuracy], pays: list[bool], unit: str) -> str:
    if all(pays):
        return "It is worth its training with any number of labels that was tried, all of them included"
    if not any(pays):
        return f"It is not clearly better with any number of labels: on these {unit} it is not worth its training"
    worth = [point for point, better in zip(encoder, pays, strict=True) if better]
    if all(pays[: len(worth)]):
        most = worth[0].setting if len(worth) == 1 else f"up to {worth[-1].setting}"
        return f"It is worth its training with {most}, and not clearly with more"
    settings = ", ".join(point.setting for point in worth)
    return f"It is worth its training with {settings}, and not clearly elsewhere"
