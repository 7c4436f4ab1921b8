"""Statistical significance of accuracies: intervals, and tests of two encoders on the same test images.

The tests are exact and the intervals are resampled, both over groups: answers that belong together (passages of one
document, images of one patient) are one observation. Without groups each answer is one.
"""

import math
from typing import NamedTuple

import numpy as np

LEVEL = 0.05
"""Two-sided p-value below which a difference is reported as real and an interval excludes zero."""

EFFECTIVE, KNN_EFFECTIVE = "effective_tests", "knn_effective_tests"
"""Keys, in metrics and tags, of the `effective_count` of test images where it differs from their number: for the linear
probe's answers (or those of few labels), and for those of kNN."""

DRAW_BATCH_SIZE = 2**22
"""Random numbers drawn at a time."""


class Difference(NamedTuple):
    """Difference of two encoders' accuracies: mean, 95 % interval, and two-sided p-value of the exact test.

    The interval leaves zero out only where the p-value is below .05.
    """

    mean: float
    low: float
    high: float
    p_value: float

    def __str__(self) -> str:
        mean, low, high = (f"{round(100 * share, 1) + 0.0:+.1f}" for share in self[:3])  # + 0.0: no -0.0
        return f"{mean} points [{low}, {high}], p {'< 1e-12' if self.p_value < 1e-12 else f'= {self.p_value:.2g}'}"


def wilson_interval(accuracy: float, count: float, z: float = 1.96) -> tuple[float, float]:
    """The interval of a fraction observed in `count` trials, 95 % by default (Wilson 1927).

    Args:
        count: Number of independent trials; for dependent ones, their `effective_count`.
    """
    if not count:
        return 0.0, 1.0
    centre = (accuracy + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(accuracy * (1 - accuracy) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return max(0.0, centre - half), min(1.0, centre + half)


def effective_count(scores: np.ndarray, groups: np.ndarray | None) -> float:
    """Number of independent answers that would leave an accuracy as uncertain as these do; their number without groups.

    The count over the design effect 1 + ρ (Σm² / n − 1), where m are the sizes of the groups and ρ is the intraclass
    correlation of the scores (Kish 1965; Donner 1986), times (z / t)², as in Korn & Graubard 1998, because few groups
    leave ρ uncertain. By simulation of 5 to 100 groups, 20 to 95 % right, Wilson's intervals hold the truth in 96 %
    of cases; in 90 % in the worst, where 95 % are right and one of 40 groups has two fifths of the answers.

    Args:
        scores: Whether each answer is right, bool (N,), or the fraction of draws in which it is, float in [0, 1].
        groups: The group of each answer, (N,); None: each answer is its own group.
    """
    count = len(scores)
    if groups is None or len(sizes := np.unique(groups, return_counts=True)[1]) == count:
        return count
    largest = (sizes**2).sum() / count  # design effect of groups that answer as one
    effect = 1 + _correlation_within(scores.astype(float), groups) * (largest - 1)
    return count / effect / _t_over_z(count / largest) ** 2


def _t_over_z(observations: float) -> float:
    """Ratio of Student's t to z: how much wider an interval is whose deviation was estimated from this many
    observations."""
    from scipy.stats import t  # half a second to import

    return float(t.ppf(0.975, max(1, observations - 1))) / 1.96


def _correlation_within(scores: np.ndarray, groups: np.ndarray) -> float:
    """The intraclass correlation in [0, 1], from the analysis of variance; 1 where all scores are equal."""
    _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    count, several, mean = len(scores), len(sizes) - 1, scores.mean()
    total = ((scores - mean) ** 2).sum()
    between = (sizes * (np.bincount(numbers, scores) / sizes - mean) ** 2).sum()
    if not several or total < 1e-9:  # the scores show no difference between groups
        return 1.0
    among, within = between / several, (total - between) / (count - len(sizes))
    usual = (count - (sizes**2).sum() / count) / several
    return float(np.clip((among - within) / (among + (usual - 1) * within), 0, 1))


def holm(p_values: list[float], level: float = LEVEL) -> list[bool]:
    """Which of several tests are significant together at a level, by Holm's step-down rule (1979)."""
    significant, order = [False] * len(p_values), sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, i in enumerate(order):
        if p_values[i] > level / (len(p_values) - rank):
            break
        significant[i] = True
    return significant


def paired_difference(
    first: np.ndarray, second: np.ndarray, groups: np.ndarray | None = None, draws: int = 10_000, seed: int = 0
) -> Difference:
    """The difference of two accuracies on the same images, with an exact test and a bootstrap interval.

    The test is `chance_of_gain` on both sides (McNemar's exact test where each answer is a group of its own). The
    interval is that of 2.5 to 97.5 % of the differences of resampled groups (Efron & Tibshirani 1993), which is too
    narrow where groups are few: it is widened by √(G / (G − 1)) and Student's t over z (Hesterberg 2015,
    arXiv:1411.5279), where G = n² / Σm² counts groups of equal size, and to zero where the test does not exclude zero.
    A single group leaves everything open.

    Args:
        first, second: Whether each image's answer is right, bool (N,); or any score of each image, float.
        groups: The group of each image, (N,); None: each image is its own group.

    Raises:
        ValueError: The two are not of the same images.
    """
    if first.shape != second.shape or not len(first):
        raise ValueError(f"received answers to {len(first)} and {len(second)} images, expected the same ones")
    gains = gains_of(first, second, groups)
    counts = np.ones(len(first), np.int64) if groups is None else np.unique(groups, return_counts=True)[1]
    drawn = _resampled(gains, counts, draws, np.random.default_rng(seed))
    mean, alike = gains.sum() / len(first), counts.sum() ** 2 / (counts**2).sum()
    low, high = -np.inf, np.inf
    if len(gains) > 1:
        wider = math.sqrt(alike / (alike - 1)) * _t_over_z(alike)
        low, high = mean + wider * (np.percentile(drawn, [2.5, 97.5]) - mean)
    if first.dtype == bool:
        low, high = max(low, -1.0), min(high, 1.0)
    p_value = min(1.0, 2 * min(chance_of_gain(gains), chance_of_gain(-gains)))
    if p_value >= LEVEL:
        low, high = min(low, 0.0), max(high, 0.0)
    return Difference(float(mean), float(low), float(high), p_value)


def gains_of(first: np.ndarray, second: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """The first's advantage over the second, summed over each group, (G,); whole numbers for right and wrong
    answers."""
    gains = first.astype(np.int64) - second if first.dtype == bool else first - second
    if groups is None:
        return gains
    _, numbers = np.unique(groups, return_inverse=True)
    return np.bincount(numbers, gains).astype(gains.dtype)


def chance_of_gain(gains: np.ndarray, draws: int = 10_000, seed: int = 0) -> float:
    """The one-sided p-value of a sum of gains: its probability, or a larger one's, if neither encoder is better.

    If neither is better, each group's gain is as likely a loss of the same size (Fisher's permutation test for pairs).
    For whole numbers every combination of signs is counted; otherwise signs are drawn at random.

    Args:
        gains: The gain of each independent group, (G,), as `gains_of` returns it.
    """
    if not np.issubdtype(gains.dtype, np.integer):
        flipped = _drawn_flips(gains, draws, np.random.default_rng(seed))
        return float((1 + (flipped <= 1e-12 * np.abs(gains).sum()).sum()) / (1 + draws))
    won = np.ones(1)  # probabilities of each possible sum of the first's gains
    for size, count in zip(*np.unique(np.abs(gains[gains != 0]), return_counts=True), strict=True):
        wins = np.zeros(size * count + 1)
        wins[::size] = _fair_coins(int(count))
        won = np.convolve(won, wins)
    return float(min(1.0, won[gains[gains > 0].sum() :].sum()))


def _drawn_flips(gains: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Sums of random subsets of the gains, (draws,): flipping the signs of a subset lowers the total by twice its
    sum."""
    block = max(1, DRAW_BATCH_SIZE // len(gains))
    sizes = [min(block, draws - start) for start in range(0, draws, block)]
    return np.concatenate([generator.integers(0, 2, (size, len(gains)), np.int8) @ gains for size in sizes])


def _fair_coins(count: int) -> np.ndarray:
    """Probabilities of 0 to `count` heads in `count` tosses of a fair coin."""
    ratios = np.log(np.arange(count, 0, -1) / np.arange(1, count + 1))
    return np.exp(np.r_[0, np.cumsum(ratios)] - count * math.log(2))


def _resampled(gains: np.ndarray, counts: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Differences of bootstrap samples of the groups, (draws,)."""
    kinds, times = np.unique(np.stack([gains, counts]), axis=1, return_counts=True)  # groups that are alike
    share, block = times / times.sum(), max(1, DRAW_BATCH_SIZE // len(times))
    drawn = []
    for start in range(0, draws, block):
        many = generator.multinomial(len(gains), share, min(block, draws - start))
        drawn.append((many @ kinds[0]) / (many @ kinds[1]))
    return np.concatenate(drawn)


def level_left(level: float, judged: int) -> float:
    """The significance level left for the next test on images that have decided `judged` tests before.

    The shares 2 / (k (k + 1)) of the level, k = 1, 2, …, sum to 2. Of a two-sided test only the side of the gains
    counts: the probability that any test accepts a gain that is due to chance stays below the level, however many tests
    there are.
    """
    return 2 * level / ((judged + 1) * (judged + 2))


def fewest_wins(level: float) -> int:
    """Least number of groups that must change from wrong to right, with none the other way, for a two-sided p-value
    below a level."""
    return math.floor(math.log2(2 / level)) + 1
