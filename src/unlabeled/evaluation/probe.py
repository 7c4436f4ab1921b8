"""Quality of features: linear probe, kNN and few labels, by one pinned protocol.

Features are standardised on the training split. The linear probe is a logistic regression (L-BFGS) whose
regularisation the validation split chooses, by cross entropy; with it, the probe learns from both splits, and test is
scored once (as in Kornblith et al. 2018, arXiv:1805.08974). kNN votes by cosine similarity, weighted
exp(similarity / temperature) as in arXiv:1805.01978. Few-label probes learn from a handful of labels, with one fixed
regularisation, over several draws.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from threadpoolctl import threadpool_limits
from torch.nn import functional as F

from unlabeled.config import Evaluation
from unlabeled.errors import DataError
from unlabeled.evaluation.significance import EFFECTIVE, KNN_EFFECTIVE, effective_count
from unlabeled.records import Accuracies
from unlabeled.storage.intact import DIGEST, digest_of_weights

METADATA_KEY = "about"
"""Metadata key of a probe's file; its value is the probe's description as JSON."""
MAX_SIMILARITIES = 2**26
"""Largest number of similarities in memory at a time."""
SMALL_PROBLEM = 2**22
"""Numbers in a problem below which BLAS is faster with one thread than with several."""


@dataclass(frozen=True)
class Labels:
    """Classes of the N images as int64, -1 where unlabelled, and the labelled rows of each split.

    Attributes:
        groups: Group number of each image, int64 (N,); None: each image is its own group.
    """

    targets: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    groups: np.ndarray | None = None

    @classmethod
    def of(cls, manifest) -> "Labels":
        targets, split = manifest.target.to_numpy(copy=True), manifest.split.to_numpy()
        rows = (np.flatnonzero((split == s) & (targets >= 0)) for s in ("train", "validation", "test"))
        divided = "group" in manifest and not manifest.group.is_unique
        return cls(targets, *rows, np.unique(manifest.group, return_inverse=True)[1] if divided else None)

    def groups_of(self, rows: np.ndarray) -> np.ndarray | None:
        """Group numbers of some rows, int64; None: each image is its own group."""
        return None if self.groups is None else self.groups[rows]

    def independent(self, rows: np.ndarray) -> int:
        """Number of groups that some rows are in."""
        return len(rows) if self.groups is None else len(np.unique(self.groups[rows]))

    def effective(self, scores: np.ndarray, key: str = EFFECTIVE) -> dict[str, float]:
        """The `effective_count` of the test images' scores under `key`; empty where each image is independent."""
        return {} if self.groups is None else {key: float(effective_count(scores, self.groups[self.test]))}

    def suffice(self) -> bool:
        """Whether there are at least two classes to learn and some test images."""
        return len(self.test) > 0 and len(np.unique(self.targets[self.train])) > 1

    def counts(self) -> tuple[int, int, int]:
        """Number of training rows, of their classes, and of test rows."""
        return len(self.train), len(np.unique(self.targets[self.train])), len(self.test)


def why_untested(manifest, unit: str = "images") -> str:
    """The reason why no accuracy can be measured, as a clause; empty where the labels suffice.

    Args:
        manifest: Table with the columns target, split and label.
        unit: Name of the rows in the plural.
    """
    labels, known = Labels.of(manifest), manifest.target >= 0
    if labels.suffice():
        return ""
    if not known.any():
        return "there are no labels to test with"
    if manifest.target[known].nunique() == 1:
        name = manifest.label[known].iloc[0]
        return f"all labelled {unit} are of one class, {name!r}: there is nothing to tell apart"
    if not len(labels.test):
        return f"no test {unit} have a label"
    return f"the labelled training {unit} are of fewer than two classes"


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier of raw features, with standardisation folded in: logits are `features @ weight.T + bias`, (N,
    classes).

    Attributes:
        classes: The target that each row of `weight` stands for.
        regularisation: The chosen C.
    """

    weight: np.ndarray
    bias: np.ndarray
    classes: np.ndarray
    regularisation: float

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Targets of features (N, D), int64 of shape (N,)."""
        return self.classes[self.logits(features).argmax(1)]

    def logits(self, features: np.ndarray) -> np.ndarray:
        return features @ self.weight.T + self.bias

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Class probabilities, float32 of shape (N, classes)."""
        return torch.from_numpy(self.logits(features)).softmax(1).numpy()

    def save(self, path: Path) -> None:
        """Writes a safetensors file of `weight`, `bias` and `classes`."""
        arrays = {"weight": self.weight, "bias": self.bias, "classes": self.classes}
        # safetensors writes memory in order, ignoring the strides.
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        about = {"regularisation": self.regularisation, DIGEST: digest_of_weights(arrays)}
        save_file(arrays, path, metadata={METADATA_KEY: json.dumps(about)})  # one entry: safetensors shuffles several

    @classmethod
    def load(cls, path: Path) -> "LinearProbe":
        """Reads a file that `save` wrote. Raises DataError where it is damaged."""
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in ("weight", "bias", "classes")}
            header = file.metadata()
        said = json.loads(header[METADATA_KEY]) if METADATA_KEY in header else header  # written by an earlier release
        if said.get(DIGEST) not in (None, digest_of_weights(arrays)):
            raise DataError(f"{path} is damaged: run the stage evaluation again, or restore the file")
        return cls(**arrays, regularisation=float(said["regularisation"]))


def fit_linear_probe(features: np.ndarray, labels: Labels, config: Evaluation) -> LinearProbe:
    """Fits the probe on train and validation, with the regularisation of lowest cross entropy on validation.

    (Accuracy would leave ties: a validation split is small.) Without a validation split, the middle candidate is taken.
    """
    mean, std = _moments(features[labels.train])
    candidates = sorted(config.regularisation)
    both = np.concatenate([labels.train, labels.validation])
    small = len(both) * features.shape[1] < SMALL_PROBLEM
    with threadpool_limits(1 if small else None):
        if not len(labels.validation):
            best, classifier = candidates[len(candidates) // 2], None
        else:
            best, classifier = _choose_regularisation(features, mean, std, labels, candidates, config)
        standardised = (features[both] - mean) / std
        classifier = _logistic_regression(standardised, labels.targets[both], best, config, classifier)
    return _fold(classifier, mean, std, best)


def _choose_regularisation(
    features: np.ndarray,
    mean: np.ndarray,
    std: np.ndarray,
    labels: Labels,
    candidates: list[float],
    config: Evaluation,
) -> tuple[float, Any]:
    """The best candidate, and its classifier as a starting point."""
    train, targets = (features[labels.train] - mean) / std, labels.targets[labels.train]
    losses, classifiers, classifier = [], [], None
    for regularisation in candidates:
        # From strong to weak, each starts at the solution before it.
        classifier = _logistic_regression(train, targets, regularisation, config, classifier)
        probe = _fold(classifier, mean, std, regularisation)
        losses.append(cross_entropy(probe, features[labels.validation], labels.targets[labels.validation]))
        classifiers.append(classifier)
    best = int(np.nanargmin(losses)) if np.isfinite(losses).any() else len(candidates) // 2
    return candidates[best], classifiers[best]


def cross_entropy(probe: LinearProbe, features: np.ndarray, targets: np.ndarray) -> float:
    """Mean cross entropy in nats over the rows whose class the probe knows; NaN where there are none."""
    known = np.isin(targets, probe.classes)
    if not known.any():
        return float("nan")
    rows = torch.from_numpy(np.searchsorted(probe.classes, targets[known]))
    return F.cross_entropy(torch.from_numpy(probe.logits(features[known])), rows).item()


def knn_accuracy(features: np.ndarray, labels: Labels, config: Evaluation, on: str = "test") -> float:
    """Accuracy of the kNN vote on the split `on`."""
    return _share(knn_right(features, labels, config, on))


def knn_right(features: np.ndarray, labels: Labels, config: Evaluation, on: str = "test") -> np.ndarray:
    """Whether the kNN vote is right for each image of the split `on`, bool (Q,)."""
    queries = getattr(labels, on)
    similarities, rows = nearest(features, queries, labels.train, config.knn_k)
    votes = knn_votes(similarities, labels.targets[rows], int(labels.targets.max()) + 1, config.knn_temperature)
    return votes.argmax(1) == labels.targets[queries]


def nearest(features: np.ndarray, queries: np.ndarray, bank: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of the bank (all, if it has fewer) that are nearest to each query by cosine similarity.

    Args:
        features: float32 of shape (N, D).
        queries: Rows of `features`, (Q,).
        bank: Rows of `features` to search, (M,).

    Returns:
        Similarities, the highest first, and rows of `features`, each (Q, k).
    """
    normalised, k = F.normalize(torch.from_numpy(features[bank]), dim=1), min(k, len(bank))
    similarities, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    chunk = max(1, MAX_SIMILARITIES // max(1, len(bank)))
    for start in range(0, len(queries), chunk):
        part = slice(start, start + chunk)
        found = (F.normalize(torch.from_numpy(features[queries[part]]), dim=1) @ normalised.T).topk(k)
        similarities[part], rows[part] = found.values.numpy(), bank[found.indices.numpy()]
    return similarities, rows


def knn_votes(similarities: np.ndarray, targets: np.ndarray, classes: int, temperature: float) -> np.ndarray:
    """Votes of neighbours for their classes, each weighted exp((similarity − the row's largest) / temperature).

    Args:
        similarities: float32 (Q, k).
        targets: int64 (Q, k).

    Returns:
        float32 (Q, classes); each row sums to at least 1.
    """
    votes, similar = torch.zeros(len(targets), classes), torch.from_numpy(similarities)
    weights = ((similar - similar.amax(1, keepdim=True)) / temperature).exp()  # at most 1: nothing overflows
    return votes.scatter_add_(1, torch.from_numpy(targets), weights).numpy()


def few_label_accuracy(features: np.ndarray, labels: Labels, config: Evaluation) -> dict[str, dict[str, float]]:
    """Test accuracy as mean and std over draws, by labels a class ("1") and by fraction of the labels ("1%")."""
    mean, std = _moments(features[labels.train])  # standardising needs no labels
    standardised = (features - mean) / std
    targets, results = labels.targets, {}
    with threadpool_limits(1):
        for setting in [*config.shots, *config.fractions]:
            right = []
            for draw in range(config.draws):
                rows = draw_labels(labels, setting, np.random.default_rng([config.seed, draw]))
                few = standardised[rows], targets[rows]
                classifier = _logistic_regression(*few, config.few_label_regularisation, config)
                right.append(classifier.predict(standardised[labels.test]) == targets[labels.test])
            name = str(setting) if isinstance(setting, int) else f"{100 * setting:g}%"
            results[name] = mean_and_std([*map(_share, right)]) | labels.effective(np.mean(right, 0))
    return results


def measure(features: np.ndarray, labels: Labels, config: Evaluation) -> tuple[Accuracies, LinearProbe]:
    """All numbers of the protocol for one kind of features, float32 of shape (N, D), and the linear probe."""
    probe = fit_linear_probe(features, labels, config)
    right = probe.predict(features[labels.test]) == labels.targets[labels.test]
    by_neighbours = knn_right(features, labels, config)
    return {
        "regularisation": probe.regularisation,
        "linear_probe_accuracy": _share(right),
        **labels.effective(right),
        "knn_accuracy": _share(by_neighbours),
        **labels.effective(by_neighbours, KNN_EFFECTIVE),
        "few_label": few_label_accuracy(features, labels, config),
    }, probe


def mean_and_std(accuracies: list[float]) -> dict[str, float]:
    """`mean` and sample `std` (0 for a single draw) over draws."""
    spread = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0
    return {"mean": float(np.mean(accuracies)), "std": spread}


def draw_labels(labels: Labels, setting: int | float, generator: np.random.Generator) -> np.ndarray:
    """Draws training rows of at least two classes: `setting` labels a class (all, if it has fewer), or a fraction of
    them.

    Rows come from different groups as long as there are any: a second passage of one document teaches less than a
    passage of another.
    """
    targets, train = labels.targets, labels.train
    shuffled = generator.permutation(train)
    by_class = [_groups_first(shuffled[targets[shuffled] == label], labels) for label in np.unique(targets[train])]
    if isinstance(setting, int):
        return np.concatenate([rows[:setting] for rows in by_class])
    rows = _groups_first(shuffled, labels)[: max(1, round(setting * len(train)))]
    if len(np.unique(targets[rows])) < 2:
        rows = np.unique([*rows, by_class[0][0], by_class[1][0]])
    return rows


def _groups_first(rows: np.ndarray, labels: Labels) -> np.ndarray:
    """Rows ordered so that the first of each group precede all second ones, and so on; otherwise in their order."""
    if labels.groups is None:
        return rows
    turns = pd.Series(rows).groupby(labels.groups[rows]).cumcount().to_numpy()
    return rows[np.argsort(turns, kind="stable")]


def _logistic_regression(features, targets, regularisation: float, config: Evaluation, start=None):
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression  # a second to import

    classifier = LogisticRegression(C=regularisation, max_iter=config.max_iterations, warm_start=True)
    if start is not None and np.array_equal(start.classes_, np.unique(targets)):
        classifier.coef_, classifier.intercept_ = start.coef_.copy(), start.intercept_.copy()
    with warnings.catch_warnings():
        # The iterations are part of the protocol: a probe that has not converged by then is scored as it is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return classifier.fit(features, targets)


def _fold(classifier, mean: np.ndarray, std: np.ndarray, regularisation: float) -> LinearProbe:
    coefficients, intercepts = classifier.coef_, classifier.intercept_
    if len(coefficients) == 1:  # scikit-learn gives two classes one row
        coefficients, intercepts = np.vstack([-coefficients, coefficients]) / 2, np.array([-1, 1]) * intercepts / 2
    weight = (coefficients / std).astype(np.float32)
    bias = (intercepts - weight @ mean).astype(np.float32)
    return LinearProbe(weight, bias, classifier.classes_, regularisation)


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, std = features.mean(0), features.std(0)
    constant = std <= 1e-5 * np.maximum(1, np.abs(mean))  # constant up to rounding: such a feature has no influence
    return mean, np.where(constant, 1, std)


def _share(right: np.ndarray) -> float:
    return float(right.mean()) if len(right) else float("nan")
