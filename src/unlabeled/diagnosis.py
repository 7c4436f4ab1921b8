"""What is wrong with a run, in plain words. Each rule says what it saw, what to try, and where it comes from."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from unlabeled.arrays import spread
from unlabeled.config import Evaluation, Pretraining
from unlabeled.probe import Labels, LinearProbe, knn_votes, nearest
from unlabeled.significance import wilson_interval
from unlabeled.verdict import Accuracy

GAP = 0.05
"""Of a probe's accuracy between the images it learned from and new ones."""
IDENTICAL = 0.02
"""Root mean square difference of two images, in [0, 1], below which they are the same picture saved twice."""
LEAKED = 0.005
"""Share of test images with a twin among the training images that moves an accuracy visibly."""
SEARCHED = 3_000
"""Images at most whose neighbours are looked up for a rule, spread over the split."""
SHOWN = 12
"""Rows at most that a finding lists."""


@dataclass(frozen=True)
class Finding:
    """Something that a person should know.

    Attributes:
        rule: Its name.
        sentence: What was seen, with its numbers.
        advice: What to try.
        source: Where the rule comes from.
        rows: Images to look at, tuples of rows with a caption each.
    """

    rule: str
    sentence: str
    advice: str
    source: str
    rows: list[tuple[tuple[int, ...], str]] = field(default_factory=list)


def collapse(metrics: dict[str, Any], config: Pretraining) -> Finding | None:
    """The embedding is (nearly) the same for all images."""
    spread = metrics["embedding_std"]
    if not config.is_collapsed(spread, metrics.get("untrained_embedding_std")):
        return None
    return Finding(
        "collapse",
        f"The embedding has collapsed: its standard deviation is {spread:.3f}, where 1 is as spread as can be.",
        "Lower pretraining.learning_rate, raise pretraining.batch_size, or weaken pretraining.weight_decay.",
        "Chen & He 2020, arXiv:2011.10566, section 4.1",
    )


def dimensional_collapse(metrics: dict[str, Any], dims: int, classes: int) -> Finding | None:
    """The embedding uses fewer directions than it takes to tell the classes apart, or than a fiftieth of its own."""
    needed, rank = max(classes - 1, dims / 50, 2), metrics["rankme"]
    if rank >= needed:
        return None
    return Finding(
        "dimensional collapse",
        f"The embedding has {dims} dimensions and uses {rank:.1f} of them (RankMe), where {needed:.0f} are the least.",
        "Strengthen the augmentation, widen the projector (pretraining.method), or train with vicreg or barlow_twins.",
        "Jing et al. 2021, arXiv:2110.09348; Garrido et al. 2022, arXiv:2210.02885",
    )


def under_training(history: pd.DataFrame, validated: int) -> Finding | None:
    """kNN accuracy on the validation split was still rising when the training ended."""
    watched = history.dropna(subset=["knn_accuracy"]) if "knn_accuracy" in history else history.iloc[:0]
    if len(watched) < 3 or not validated:
        return None
    last, half = watched.iloc[-1], watched[watched.epoch <= watched.epoch.iloc[-1] / 2]
    if half.empty or last.knn_accuracy < watched.knn_accuracy.max():
        return None
    gain, error = last.knn_accuracy - half.knn_accuracy.iloc[-1], _error(last.knn_accuracy, validated)
    if gain <= error:
        return None
    return Finding(
        "under-training",
        f"kNN accuracy on the validation split rose by {100 * gain:.1f} points over the second half of the training, "
        f"and was highest at its end.",
        f"Train for longer: pretraining.epochs={2 * int(last.epoch)}.",
        "Chen et al. 2020, arXiv:2002.05709, figure 9: longer training keeps helping",
    )


def overfit_probe(
    probe: LinearProbe, features: np.ndarray, labels: Labels, accuracy: float, unit: str = "images"
) -> Finding | None:
    """The linear probe knows the data it learned from, and not new ones; `unit` is what they are, in the plural."""
    learned = float((probe.predict(features[labels.train]) == labels.targets[labels.train]).mean())
    _, high = wilson_interval(accuracy, len(labels.test))
    if learned - accuracy <= GAP or learned <= high:
        return None
    return Finding(
        "overfit probe",
        f"The linear probe is right on {100 * learned:.1f} % of the {unit} it learned from and on {100 * accuracy:.1f} "
        f"% of the test {unit}.",
        f"Label more {unit}, add smaller values to evaluation.regularisation, or look for a shift between the splits.",
        "Hastie et al. 2009, The Elements of Statistical Learning, section 7.2",
    )


def leakage(features: np.ndarray, images: np.ndarray, manifest: pd.DataFrame) -> Finding | None:
    """Test images that are also, nearly pixel by pixel, among the training images."""
    split = manifest.split.to_numpy()
    test, train = spread(np.flatnonzero(split == "test"), SEARCHED), np.flatnonzero(split == "train")
    if not len(test) or not len(train):
        return None
    _, found = nearest(features, test, train, 1)
    gaps = np.concatenate([_gaps(images, test[i : i + 256], found[i : i + 256, 0]) for i in range(0, len(test), 256)])
    twins = np.flatnonzero(gaps < IDENTICAL)
    if len(twins) <= LEAKED * len(test):
        return None
    listed = twins[np.argsort(gaps[twins], kind="stable")][:SHOWN]
    return Finding(
        "leakage",
        f"{100 * len(twins) / len(test):.1f} % of the test images ({len(twins)} of {len(test)} that were looked at) "
        f"have a near-duplicate among the training images: their accuracy flatters every encoder.",
        "Remove one of each pair, or give your own split with train/ and test/ folders.",
        "Barz & Denzler 2020, arXiv:1902.00423",
        [((int(test[i]), int(found[i, 0])), "test, and its twin in train") for i in listed],
    )


def label_noise(features: np.ndarray, labels: Labels, classes: list[str], config: Evaluation) -> Finding | None:
    """Images whose neighbours all but agree on another class than their label's.

    A candidate's vote for another class is the highest, and higher than what that class's own members get on average:
    the rule of confident learning, with neighbours as the model that has not seen the image's own label.
    """
    known = np.sort(np.concatenate([labels.train, labels.validation, labels.test]))
    looked_at, k = spread(known, SEARCHED), config.knn_k
    if len(known) <= k + 1:
        return None
    similarities, rows = nearest(features, looked_at, known, k + 1)
    similarities = np.where(rows == looked_at[:, None], -np.inf, similarities)  # it has no vote on itself
    similarities -= similarities.max(1, keepdims=True)  # shares stay as they are, and no exponential overflows
    votes = knn_votes(similarities, labels.targets[rows], len(classes), config.knn_temperature)
    votes /= votes.sum(1, keepdims=True)
    given = labels.targets[looked_at]
    own = votes[np.arange(len(given)), given]
    usual = np.array([own[given == c].mean() if (given == c).any() else 1.0 for c in range(len(classes))])
    said = votes.argmax(1)
    suspects = np.flatnonzero((said != given) & (votes.max(1) >= usual[said]))
    if not len(suspects):
        return None
    listed = suspects[np.argsort(own[suspects] - votes.max(1)[suspects], kind="stable")][:SHOWN]
    share = 100 * len(suspects) / len(looked_at)
    return Finding(
        "label noise",
        f"{len(suspects)} of {len(looked_at)} labels that were looked at ({share:.1f} %) are confidently contradicted "
        f"by the images most like theirs.",
        "Look at these first: a wrong label in the test split costs accuracy that no encoder can win back.",
        "Northcutt et al. 2019, arXiv:1911.00068",
        [((int(looked_at[i]),), f"labelled {classes[given[i]]}, looks like {classes[said[i]]}") for i in listed],
    )


def no_gain(encoder: list[Accuracy], baselines: dict[str, list[Accuracy]], unit: str = "images") -> Finding | None:
    """The encoder is not clearly better than the best baseline with any number of labels."""
    for i, mine in enumerate(encoder):
        if mine.low > max(points[i].high for points in baselines.values()):
            return None
    return Finding(
        "no gain",
        "With no number of labels is the encoder clearly better than the best baseline: self-supervision does not pay "
        "here, as it stands.",
        f"Check augmentation against the {unit} (what must not matter?), train for longer, or bring more {unit}.",
        "Newell & Deng 2020, arXiv:2003.14323: how useful is self-supervised pretraining",
    )


def _error(accuracy: float, count: int) -> float:
    return (accuracy * (1 - accuracy) / count) ** 0.5


def _gaps(images: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Root mean square difference of pairs of images, in [0, 1]."""
    difference = (images[first].astype(np.float32) - images[second]) / 255
    return np.sqrt(np.square(difference).mean((1, 2, 3)))
