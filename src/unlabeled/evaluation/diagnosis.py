"""Rules that detect what is wrong with a run. A finding has an observation, a remedy to try, and a source.

The rules' error rates on clean data and on data with known faults: `python benchmarks/rules.py`.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from unlabeled.config import Pretraining
from unlabeled.evaluation.health import MAX_ROWS
from unlabeled.evaluation.probe import Labels, LinearProbe, nearest
from unlabeled.evaluation.significance import effective_count, wilson_interval
from unlabeled.evaluation.twins import find_twins
from unlabeled.evaluation.verdict import Accuracy
from unlabeled.records import Measured, Metrics
from unlabeled.runtime.counts import counted
from unlabeled.storage.arrays import spread

MAX_OVERFIT_GAP = 0.05
"""Difference of a probe's accuracy between training and new images, above which it overfits."""
MIN_LOOKS = 3
"""Measurements during a training below which a trend cannot be told."""
FEW_ERRORS = 3
"""Wrong answers below which an accuracy has no room left to rise."""
MONITORED_ROWS = 512
"""Validation rows measured at each look during training, where there are as many (see pretrain.embedding_monitor)."""
MIN_LEAKED_SHARE = 0.005
"""Fraction of test images with a near-duplicate in training that visibly changes an accuracy."""
MAX_SEARCHED_ROWS = 3_000
"""Largest number of images whose neighbours a rule looks up, spread over the split."""
NEIGHBOURS = 10
"""Number of neighbours that vote on whether a label is right."""
OVERLAP = {9: 0.35, 8: 0.55}
"""Largest fraction of the neighbours' errors in which at least so many of them agree on one other class, where labels
are right and classes overlap (by simulation). The second finds cases that the first misses: a fifth of all labels
wrong."""
CONTRADICTION_LEVEL = 0.025
"""Significance level of each count of contradictions: their largest probability where all labels are right."""
MAX_LISTED_ROWS = 12
"""Largest number of rows that a finding lists."""


@dataclass(frozen=True)
class Finding:
    """A finding of a rule, for a person to read.

    Attributes:
        rule: Name of the rule.
        sentence: The observation, with its numbers.
        advice: A remedy to try.
        source: The paper or book that the rule comes from.
        rows: Images to look at: tuples of rows, each with a caption.
    """

    rule: str
    sentence: str
    advice: str
    source: str
    rows: list[tuple[tuple[int, ...], str]] = field(default_factory=list)


@dataclass(frozen=True)
class Undecided:
    """A rule cannot be applied to a run; `reason` is a clause."""

    reason: str


def collapse(metrics: Metrics, config: Pretraining) -> Finding | None:
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


def dimensional_collapse(
    metrics: Measured, dims: int, classes: int, count: int, augmented: bool = True
) -> Finding | None:
    """The embedding uses far fewer directions than it has and than its classes could use.

    The limit is the largest of half of classes − 1, a fiftieth of the dimensions, and two, as far as there is room for
    so many.

    Args:
        dims: Dimensions of the embedding.
        count: Rows that RankMe was measured on.
        augmented: Whether the method learned from augmented views.
    """
    room, rank = min(dims, count, MAX_ROWS), metrics["rankme"]
    needed = max(min(classes - 1, room) / 2, room / 50, min(2, room / 2))
    if rank >= needed:
        return None
    advice = "Train for longer (pretraining.epochs), or bring more data."
    if augmented:
        advice = "Strengthen the augmentation, widen the projector (pretraining.method), or train with vicreg or "
        advice += "barlow_twins."
    return Finding(
        "dimensional collapse",
        f"The embedding has {dims} dimensions and uses {rank:.1f} of them (RankMe), where {needed:.1f} are the least.",
        advice,
        "Jing et al. 2021, arXiv:2110.09348; Garrido et al. 2022, arXiv:2210.02885",
    )


def under_training(history: pd.DataFrame, validated: int) -> Finding | Undecided | None:
    """kNN accuracy on the validation split was still rising when the training ended.

    The rise has to be significant. Which answers changed is not recorded, so the two looks are treated as
    independent. As they are of the same images, the rule reports too rarely rather than too often.

    Args:
        history: One row for each epoch, some with `knn_accuracy`.
        validated: Number of groups of labelled rows in the validation split; each is one observation.
    """
    if not validated:
        return Undecided("no validation data have a label")
    watched = history.dropna(subset=["knn_accuracy"]) if "knn_accuracy" in history else history.iloc[:0]
    half = watched[watched.epoch <= watched.epoch.max() / 2]
    if len(watched) < MIN_LOOKS or half.empty:
        looks = f"kNN accuracy was measured {counted(len(watched), 'times')} during the training"
        return Undecided(f"{looks}; it takes {MIN_LOOKS}, one of them in the first half")
    last = watched.iloc[-1]
    if last.knn_accuracy < watched.knn_accuracy.max():
        return None
    before, count = half.knn_accuracy.iloc[-1], min(validated, MONITORED_ROWS)
    if (1 - last.knn_accuracy) * count < FEW_ERRORS or _least_gap(last.knn_accuracy, count, before, count) <= 0:
        return None
    gain = last.knn_accuracy - before
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
    """The linear probe is right far more often on its training data than on new data; `unit`: name of the data in the
    plural."""
    (learned, known), (_, new) = (_tried(probe, features, labels, rows) for rows in (labels.train, labels.test))
    if learned - accuracy <= MAX_OVERFIT_GAP or _least_gap(learned, known, accuracy, new) <= 0:
        return None
    return Finding(
        "overfit probe",
        f"The linear probe is right on {100 * learned:.1f} % of the {unit} it learned from and on {100 * accuracy:.1f} "
        f"% of the test {unit}.",
        f"Label more {unit}, add smaller values to evaluation.regularisation, or look for a shift between the splits.",
        "Hastie et al. 2009, The Elements of Statistical Learning, section 7.2",
    )


def _tried(probe: LinearProbe, features: np.ndarray, labels: Labels, rows: np.ndarray) -> tuple[float, float]:
    """The probe's accuracy on some rows, and the number of independent rows that would leave it as uncertain."""
    right = probe.predict(features[rows]) == labels.targets[rows]
    return float(right.mean()), effective_count(right, labels.groups_of(rows))


def leakage(features: np.ndarray, images: np.ndarray, manifest: pd.DataFrame) -> Finding | Undecided | None:
    """Near-duplicates of training images among the test images: a test image and its nearest training image in the
    embedding, if they show the same picture (`find_twins`)."""
    split = manifest.split.to_numpy()
    test, train = spread(np.flatnonzero(split == "test"), MAX_SEARCHED_ROWS), np.flatnonzero(split == "train")
    if not len(test) or not len(train):
        return Undecided("there is no test split beside a train split")
    _, found = nearest(features, test, train, 1)
    alike, same = find_twins(images, test, found[:, 0], train)
    twins = np.flatnonzero(same)
    if len(twins) <= MIN_LEAKED_SHARE * len(test):
        return None
    listed = twins[np.argsort(-alike[twins], kind="stable")][:MAX_LISTED_ROWS]
    return Finding(
        "leakage",
        f"{100 * len(twins) / len(test):.1f} % of the test images ({len(twins)} of {len(test)} that were looked at) "
        f"have a near-duplicate among the training images: their accuracy flatters every encoder.",
        "Remove one of each pair, or give your own split with train/ and test/ folders.",
        "Barz & Denzler 2020, arXiv:1902.00423",
        [((int(test[i]), int(found[i, 0])), "test, and its twin in train") for i in listed],
    )


def label_noise(features: np.ndarray, labels: Labels, classes: list[str]) -> Finding | Undecided | None:
    """Images whose neighbours almost all agree on a class other than their label.

    Where classes overlap, neighbours contradict right labels too, but then most of their errors are split votes. Labels
    are reported as wrong where more of the errors are unanimous than overlap explains. Errors on classes that are
    mostly misclassified are left out: there the neighbours carry no information, or only which class is frequent.
    """
    known = np.sort(np.concatenate([labels.train, labels.validation, labels.test]))
    if len(known) <= NEIGHBOURS:
        return Undecided(f"only {counted(len(known), 'images')} have a label, and {NEIGHBOURS} neighbours vote")
    looked_at = spread(known, MAX_SEARCHED_ROWS)
    given, votes = labels.targets[looked_at], _votes_of_others(features, labels.targets, looked_at, known, len(classes))
    said = votes.argmax(1)
    right, count = (np.bincount(each, minlength=len(classes)) for each in (given[said == given], given))
    told = (right >= count / 2) & (count > 0)
    if told.sum() < 2:
        return Undecided("the neighbours are mostly wrong about all classes but at most one")
    errors = (said != given) & told[given]
    contradicted = {agreed: np.flatnonzero(errors & (votes.max(1) >= agreed)) for agreed in OVERLAP}
    sure = [
        n for n, rows in contradicted.items() if _chance_of(len(rows), errors.sum(), OVERLAP[n]) <= CONTRADICTION_LEVEL
    ]
    if not sure:
        return None
    agreed, suspects = sure[0], contradicted[sure[0]]
    listed = suspects[np.argsort(-votes.max(1)[suspects], kind="stable")][:MAX_LISTED_ROWS]
    share, split_votes = 100 * len(suspects) / len(looked_at), errors.sum() - len(suspects)
    explained = OVERLAP[agreed] / (1 - OVERLAP[agreed]) * split_votes
    return Finding(
        "label noise",
        f"{len(suspects)} of {len(looked_at)} labels that were looked at ({share:.1f} %) are contradicted by at least "
        f"{agreed} of the {NEIGHBOURS} images most like theirs. Classes that overlap explain at most about "
        f"{explained:.0f} of them.",
        "Look at these first: a wrong label in the test split costs accuracy that no encoder can win back.",
        "Northcutt et al. 2019, arXiv:1911.00068",
        [((int(looked_at[i]),), f"labelled {classes[given[i]]}, looks like {classes[said[i]]}") for i in listed],
    )


def no_gain(
    encoder: list[Accuracy], baselines: dict[str, list[Accuracy]], unit: str = "images", augmented: bool = True
) -> Finding | None:
    """The encoder is not clearly better than the best baseline with any number of labels. The test data may be too few:
    the sentence says how large a gain is still possible."""
    settings = zip(*baselines.values(), strict=True)
    if any(mine.low > max(each.high for each in theirs) for mine, theirs in zip(encoder, settings, strict=True)):
        return None
    mine, other = encoder[-1], max((points[-1] for points in baselines.values()), key=lambda point: point.mean)
    low, high = possible_gain(mine, other)
    start = f"Check augmentation against the {unit} (what must not matter?), train" if augmented else "Train"
    return Finding(
        "no gain",
        f"With no number of labels is the encoder clearly better than the best baseline. With {mine.setting} it gains "
        f"{100 * (mine.mean - other.mean):+.1f} points, and anything from {100 * low:+.1f} to {100 * high:+.1f} is "
        f"possible.",
        f"{start} for longer, or bring more {unit}, also to test on.",
        "Newell & Deng 2020, arXiv:2003.14323: how useful is self-supervised pretraining",
    )


def possible_gain(first: Accuracy, second: Accuracy) -> tuple[float, float]:
    """The interval of the difference of two accuracies, from their own intervals (Newcombe 1998, method 10)."""
    gain = first.mean - second.mean
    low = gain - math.hypot(first.mean - first.low, second.high - second.mean)
    return low, gain + math.hypot(first.high - first.mean, second.mean - second.low)


def _least_gap(first: float, first_count: float, second: float, second_count: float) -> float:
    """Lower bound, at 97.5 %, of the difference of two independent fractions (Newcombe 1998, method 10)."""
    low, high = wilson_interval(first, first_count)[0], wilson_interval(second, second_count)[1]
    return first - second - math.hypot(first - low, high - second)


def _chance_of(successes: int, trials: int, share: float) -> float:
    """Probability of at least this many successes in independent trials that each succeed with probability `share`."""
    from scipy.stats import binom  # half a second to import

    return float(binom.sf(successes - 1, trials, share))


def _votes_of_others(
    features: np.ndarray, targets: np.ndarray, asked: np.ndarray, known: np.ndarray, classes: int
) -> np.ndarray:
    """Number of votes for each class among the NEIGHBOURS nearest known images, without the image itself: int64 (Q,
    classes)."""
    _, rows = nearest(features, asked, known, NEIGHBOURS + 1)
    itself_last = np.argsort(rows == asked[:, None], axis=1, kind="stable")
    others = np.take_along_axis(rows, itself_last, 1)[:, :NEIGHBOURS]
    votes = np.zeros((len(asked), classes), np.int64)
    np.add.at(votes, (np.arange(len(asked))[:, None], targets[others]), 1)
    return votes
