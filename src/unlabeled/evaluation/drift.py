"""Differences between new data and the data that a model was trained on: in embedding, pixels, classes and sizes.

An encoder is trained to ignore brightness, noise and small turns, so its embedding alone does not show them.
"""

from typing import Any

import numpy as np
import pandas as pd

MAX_COMPARED_IMAGES = 1000
"""Largest number of images of each side that are compared."""
PERMUTATIONS = 999
MIN_GROUPS = 10
"""Smallest number of rows on each side for a comparison."""
STATISTICS = ("brightness", "contrast", "sharpness")
DRIFT_LEVEL = 0.01
"""Significance level of a difference."""
NO_LABEL = "no label"
MAX_LISTED_MOVES = 10
"""Largest number of pairs of classes that a sentence lists."""


def changes_between(before: pd.DataFrame, now: pd.DataFrame) -> dict[str, Any]:
    """Counts the differences between two manifests of one data set, by content.

    Returns:
        `new` and `gone`, the rows of contents that only one of the two has; `changed`, rows with other content under
        the same path, which count as neither new nor gone; and `relabelled`, contents that both have with different
        labels, as `[from, to, count]` for each pair of labels, the most frequent first.
    """
    is_new, is_gone = ~now.sha256.isin(before.sha256), ~before.sha256.isin(now.sha256)
    changed = 0
    if "path" in now and "path" in before:
        came, went = now.path[is_new].value_counts(), before.path[is_gone].value_counts()
        changed = int(pd.concat([came, went], axis=1, join="inner").min(axis=1).sum())
    old, new = (each[["sha256", "label"]].fillna({"label": NO_LABEL}).drop_duplicates() for each in (before, now))
    pairs = old[old.sha256.isin(new.sha256)].merge(new[new.sha256.isin(old.sha256)], how="outer", indicator=True)
    lost, gained = (pairs[pairs._merge == side] for side in ("left_only", "right_only"))
    moves = lost.merge(gained, on="sha256").value_counts(["label_x", "label_y"], sort=False)
    listed = sorted(([*labels, int(count)] for labels, count in moves.items()), key=lambda move: (-move[2], *move[:2]))
    counts = {"new": int(is_new.sum()) - changed, "gone": int(is_gone.sum()) - changed, "changed": changed}
    return {**counts, "relabelled": listed}


def counts_in_words(changes: dict[str, Any]) -> str:
    """The counts of `changes_between` in words, with the classes from and to which labels have moved."""
    moves = changes["relabelled"]
    told = [f"{changes[key]:,} {key}" for key in ("new", "gone", "changed")]
    told.append(f"{sum(count for *_, count in moves):,} relabelled")
    listed = [f"{old} → {new}: {count:,}" for old, new, count in moves[:MAX_LISTED_MOVES]]
    if len(moves) > MAX_LISTED_MOVES:
        listed.append(f"and {len(moves) - MAX_LISTED_MOVES:,} more")
    return ", ".join(told) + (f" ({', '.join(listed)})" if listed else "")


def summarise(
    before: pd.DataFrame, now: pd.DataFrame, features: np.ndarray, images: np.ndarray | None = None, seed: int = 0
) -> dict[str, Any]:
    """Counts what has changed since earlier data, and measures how new images differ from the earlier ones.

    One row of each group, drawn at random, is compared on either side: passages of one new document are alike because
    they belong together.

    Args:
        before: The manifest of the model's training data.
        now: Today's manifest.
        features: Today's images under the model's encoder, float32 (N, D), row by row of `now`.
        images: Today's images, uint8 (N, C, H, W), row by row of `now`; None: not images.
        seed: Seed of the samples and permutations.

    Returns:
        The counts of `changes_between`; and, with at least MIN_GROUPS new and MIN_GROUPS known groups, `embedding` (see
        `embedding_distance`), `pixels` (of their STATISTICS), `classes` (of the labelled ones, with MIN_GROUPS on
        either side) and `sizes`, each with `distance` in [0, 1] (0: alike; 1: nothing in common) and `p_value`. Changed
        images count as new ones there.
    """
    is_new = ~now.sha256.isin(before.sha256).to_numpy()
    summary = changes_between(before, now)
    rows = _one_of_each_group(now, is_new, seed)
    now, is_new, features = now.iloc[rows], is_new[rows], features[rows]
    if min(is_new.sum(), (~is_new).sum()) < MIN_GROUPS:
        return summary
    rng = np.random.default_rng(seed)
    normalised = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    summary["embedding"] = embedding_distance(normalised[~is_new], normalised[is_new], rng)
    if images is not None:
        summary["pixels"] = _pixels_differ(images, rows[~is_new], rows[is_new], rng)
    labels = [now.label[side].dropna().to_numpy() for side in (~is_new, is_new)]
    if min(map(len, labels)) >= MIN_GROUPS:
        summary["classes"] = _shares_differ(*labels, rng)
    if "width" not in now:  # texts
        return summary
    area = (now.width * now.height).to_numpy()
    deciles = np.searchsorted(np.quantile(area[~is_new], np.linspace(0.1, 0.9, 9)), area)
    summary["sizes"] = {
        **_shares_differ(deciles[~is_new], deciles[is_new], rng),
        "median_before": [int(now[side][~is_new].median()) for side in ("width", "height")],
        "median_new": [int(now[side][is_new].median()) for side in ("width", "height")],
    }
    return summary


def _one_of_each_group(manifest: pd.DataFrame, is_new: np.ndarray, seed: int) -> np.ndarray:
    """Rows with at most one new and one known row of each group; all rows where groups are unknown."""
    if "group" not in manifest:
        return np.arange(len(manifest))
    order = np.random.default_rng([seed, 1]).permutation(len(manifest))
    drawn = pd.DataFrame({"group": manifest.group.to_numpy()[order], "new": is_new[order]})
    return np.sort(order[~drawn.duplicated().to_numpy()])


def embedding_distance(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """The energy coefficient of two samples (N, D) and (M, D), and its p-value by a permutation test.

    The coefficient is in [0, 1]: 0 where both come from one distribution (Székely & Rizzo 2013,
    doi:10.1016/j.jspi.2013.03.018).
    """
    first, second = (each[rng.permutation(len(each))[:MAX_COMPARED_IMAGES]] for each in (first, second))
    both = np.concatenate([first, second]).astype(np.float64)
    squares = (both**2).sum(1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * both @ both.T, 0))
    np.fill_diagonal(distances, 0)
    member = np.zeros((PERMUTATIONS + 1, len(both)))
    member[0, : len(first)] = 1
    for row in member[1:]:
        row[rng.permutation(len(both))[: len(first)]] = 1
    n, m = len(first), len(second)
    within_first = np.einsum("pi,pi->p", member @ distances, member)
    other = 1 - member
    within_second = np.einsum("pi,pi->p", other @ distances, other)
    between = (distances.sum() - within_first - within_second) / 2
    across = between / (n * m)
    energy = 2 * across - within_first / n**2 - within_second / m**2
    coefficient = energy / np.maximum(2 * across, 1e-12)
    return {"distance": float(np.clip(coefficient[0], 0, 1)), "p_value": float((energy >= energy[0] - 1e-12).mean())}


def pixel_statistics(images: np.ndarray) -> np.ndarray:
    """STATISTICS of images (N, C, H, W) in levels of their dtype: mean, deviation, and mean step between neighbours.

    float32 (N, 3).
    """
    rows = np.empty((len(images), len(STATISTICS)), np.float32)
    for start in range(0, len(images), 256):
        pixels = images[start : start + 256].astype(np.float32)
        steps = [np.abs(np.diff(pixels, axis=axis)).mean((1, 2, 3)) for axis in (2, 3)]
        rows[start : start + 256] = np.stack([pixels.mean((1, 2, 3)), pixels.std((1, 2, 3)), sum(steps) / 2], 1)
    return rows


def _pixels_differ(
    images: np.ndarray, known: np.ndarray, new: np.ndarray, rng: np.random.Generator
) -> dict[str, float]:
    """The `embedding_distance` between the pixel statistics of two sets of images, given by their rows."""
    known, new = (np.sort(rng.permutation(rows)[:MAX_COMPARED_IMAGES]) for rows in (known, new))
    statistics = pixel_statistics(images[np.concatenate([known, new])])
    statistics /= np.maximum(statistics.std(0), 1e-6)
    return embedding_distance(statistics[: len(known)], statistics[len(known) :], rng)


def _shares_differ(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """The total variation distance between the distributions of the values in two samples, with a permutation test."""
    values, numbers = np.unique(np.concatenate([first, second]), return_inverse=True)

    def distance(numbers: np.ndarray) -> float:
        shares = (np.bincount(part, minlength=len(values)) / len(part) for part in np.split(numbers, [len(first)]))
        return float(np.abs(next(shares) - next(shares)).sum() / 2)

    found = distance(numbers)
    by_chance = sum(distance(rng.permutation(numbers)) >= found - 1e-12 for _ in range(PERMUTATIONS))
    return {"distance": found, "p_value": (by_chance + 1) / (PERMUTATIONS + 1)}


def sentence_of(summary: dict[str, Any]) -> str:
    """A sentence that tells a summary's counts and differences."""
    counts = counts_in_words(summary)
    if "embedding" not in summary:
        return f"{counts}: too few to say how they differ" if summary["new"] + summary["changed"] else counts
    parts = {"in embedding": "embedding", "in pixels": "pixels", "in class balance": "classes", "in size": "sizes"}
    told = []
    for words, key in ((words, key) for words, key in parts.items() if key in summary):
        found = summary[key]
        verdict, sign = ("different", "≤") if found["p_value"] <= DRIFT_LEVEL else ("alike", ">")
        test = f"p = {found['p_value']:.2g} {sign} {DRIFT_LEVEL:g}"
        told.append(f"{verdict} {words} (distance {found['distance']:.2f}, {test})")
    return f"{counts}: the new ones are {', '.join(told)}"
