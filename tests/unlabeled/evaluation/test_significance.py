from itertools import product
from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from unlabeled.evaluation.significance import (
    chance_of_gain,
    effective_count,
    fewest_wins,
    holm,
    paired_difference,
    wilson_interval,
)


def answers(n=200, first=0.8, second=0.6, seed=0):
    """Whether two encoders were right about each of n images, independently."""
    return tuple(np.random.default_rng(seed).random((2, n)) < np.array([[first], [second]]))


def compared(n, wins, losses):
    """Two encoders' answers to n images of which the first alone has some right, and the second alone others."""
    first, second = np.ones(n, bool), np.ones(n, bool)
    second[:wins], first[wins : wins + losses] = False, False
    return first, second


def test_the_interval_of_half_of_a_hundred_is_wilsons():
    assert wilson_interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=5e-5)


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_the_intervals_of_none_and_of_all_are_the_closed_forms(n):
    assert wilson_interval(0.0, n) == pytest.approx((0, 1.96**2 / (n + 1.96**2)))
    assert wilson_interval(1.0, n) == pytest.approx((n / (n + 1.96**2), 1))


@pytest.mark.parametrize("right, n", [(1, 3), (7, 9), (313, 360), (9999, 10_000)])
def test_the_interval_is_scipys(right, n):
    theirs = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson_interval(right / n, n) == pytest.approx((theirs.low, theirs.high), abs=1e-4)


def test_nothing_is_known_of_no_trials():
    assert wilson_interval(0.0, 0) == (0, 1)


def test_another_z_gives_another_interval():
    (low, high), (lower, higher) = wilson_interval(0.7, 50), wilson_interval(0.7, 50, z=2.576)
    assert lower < low < 0.7 < high < higher


def slow_bootstrap(first, second, draws=3000):
    """Resamples the images one draw after another; the differences drawn."""
    random, n = np.random.default_rng(7), len(first)
    drawn = []
    for _ in range(draws):
        rows = random.integers(0, n, n)
        drawn.append(first[rows].mean() - second[rows].mean())
    return np.array(drawn)


@pytest.mark.parametrize("n, first, second", [(60, 0.9, 0.6), (200, 0.8, 0.6), (300, 0.5, 0.5)])
def test_the_interval_is_the_slow_bootstraps(n, first, second):
    both = answers(n, first, second)
    drawn, found = slow_bootstrap(*both), paired_difference(*both)
    assert found.mean == pytest.approx(both[0].mean() - both[1].mean())
    assert found[1:3] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.017)


@pytest.mark.parametrize(
    "wins, losses, p_value",
    [(3, 0, 0.25), (4, 0, 0.125), (5, 0, 0.0625), (6, 1, 0.125), (10, 3, 0.0923), (8, 0, 0.0078), (0, 3, 0.25)],
)
def test_few_answers_that_differ_are_weighed_exactly(wins, losses, p_value):
    assert paired_difference(*compared(370, wins, losses)).p_value == pytest.approx(p_value, abs=5e-5)


@pytest.mark.parametrize("wins, losses", [(0, 0), (1, 1), (40, 20), (300, 250), (3100, 2900)])
def test_the_test_is_scipys(wins, losses):
    theirs = binomtest(wins, wins + losses).pvalue if wins else 1
    assert paired_difference(*compared(7000, wins, losses), draws=10).p_value == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("discordant", range(1, 31))
def test_equal_encoders_are_told_apart_one_way_in_at_most_one_of_forty_cases(discordant):
    told = 0
    for wins in range(discordant + 1):
        difference = paired_difference(*compared(40, wins, discordant - wins), draws=2)
        told += comb(discordant, wins) * (difference.mean > 0 and difference.p_value < 0.05)
    assert told / 2**discordant <= 0.025


def test_the_interval_leaves_zero_out_just_where_the_test_does():
    for n, wins, losses in [(n, w, lost) for n in (40, 370) for w in range(16) for lost in range(16)]:
        found = paired_difference(*compared(n, wins, losses), draws=1000)
        assert (found.low > 0 or found.high < 0) == (found.p_value < 0.05), (n, wins, losses, found)


def test_swapping_the_two_turns_the_difference_round():
    first, second = answers(first=0.7, second=0.64)
    one, other = paired_difference(first, second), paired_difference(second, first)
    assert other.mean == -one.mean and other.p_value == pytest.approx(one.p_value)
    assert other[1:3] == pytest.approx((-one.high, -one.low), abs=0.01)


def test_identical_answers_do_not_differ():
    first, _ = answers()
    assert paired_difference(first, first.copy()) == (0, 0, 0, 1)


def test_as_many_gains_as_losses_are_chance():
    first = np.arange(100) % 2 == 0
    found = paired_difference(first, ~first)
    assert found.mean == 0 and found.low < 0 < found.high and found.p_value == 1


def test_what_both_get_right_or_wrong_tells_nothing():
    first, second = answers(100)
    same = np.ones(100, bool)
    alone, diluted = paired_difference(first, second), paired_difference(np.r_[first, same], np.r_[second, same])
    assert diluted.mean == pytest.approx(alone.mean / 2) and diluted.p_value == alone.p_value


def test_the_seed_decides_the_draws():
    both = answers(first=0.7)
    first, again, other = (paired_difference(*both, draws=500, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_a_difference_reads_as_points_interval_and_p():
    assert str(paired_difference(*compared(370, 3, 0))) == "+0.8 points [+0.0, +1.9], p = 0.25"
    assert str(paired_difference(*compared(370, 80, 0))).endswith("p < 1e-12")


@pytest.mark.parametrize("one, other", [(3, 4), (0, 0)])
def test_answers_to_other_images_are_refused(one, other):
    with pytest.raises(ValueError, match=f"received answers to {one} and {other} images"):
        paired_difference(np.ones(one, bool), np.ones(other, bool))


def test_groups_of_one_are_no_groups():
    both = answers()
    numbers = np.random.default_rng(1).permutation(200)
    assert paired_difference(*both, numbers) == paired_difference(*both)


def test_every_combination_of_signs_is_counted():
    gains = np.array([3, -1, 2, 2, 0, -4, 1])
    sums = [np.dot(signs, gains) for signs in product([-1, 1], repeat=len(gains))]
    assert chance_of_gain(gains) == pytest.approx(np.mean(np.array(sums) >= gains.sum()))


def test_other_scores_are_compared_by_drawn_signs():
    gains = np.random.default_rng(2).normal(0.3, 1, 40)
    theirs = permutation_test((gains, np.zeros(40)), lambda a, b: np.mean(a - b), permutation_type="samples", rng=0)
    assert 2 * chance_of_gain(gains) == pytest.approx(theirs.pvalue, abs=0.01)
    found = paired_difference(gains, np.zeros(40))
    assert found.mean == pytest.approx(gains.mean()) and found.p_value == pytest.approx(theirs.pvalue, abs=0.01)


def test_equal_encoders_that_err_by_group_are_told_apart_in_at_most_one_of_forty_cases():
    random, groups, false = np.random.default_rng(3), np.repeat(np.arange(18), 5), np.zeros(2)
    for _ in range(800):
        right = random.random((2, 90)) < 1 / (1 + np.exp(-random.normal(0, 1.5, (2, 18)).repeat(5, 1)))
        found = [paired_difference(*right, g, draws=2) for g in (groups, None)]
        false += [difference.mean > 0 and difference.p_value < 0.05 for difference in found]
    assert false[0] / 800 <= 0.04 and false[1] / 800 > 0.06  # 2.5 % and what 800 draws leave; without groups


def test_intervals_of_groups_are_wider():
    random, groups = np.random.default_rng(4), np.repeat(np.arange(30), 20)
    first = random.random(600) < (random.random(30) < 0.6).repeat(20)
    second = random.random(600) < 0.4
    by_group, by_image = (paired_difference(first, second, g) for g in (groups, None))
    assert by_group.mean == by_image.mean and by_group.high - by_group.low > 1.5 * (by_image.high - by_image.low)


@pytest.mark.parametrize("level", [0.05, 0.031250001, 0.03125, 0.01, 0.9])
def test_fewer_wins_than_the_fewest_are_not_enough(level):
    fewest = fewest_wins(level)
    assert paired_difference(*compared(50, fewest, 0), draws=2).p_value < level
    assert fewest == 1 or paired_difference(*compared(50, fewest - 1, 0), draws=2).p_value >= level


def test_holm_is_the_example_worked_by_hand():
    # 0.005 <= 0.05/4, 0.01 <= 0.05/3, but 0.03 > 0.05/2: it and all above it stay.
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]


def test_holm_stops_at_the_first_that_fails():
    assert holm([0.04, 0.04]) == [False, False]
    assert holm([0.025, 0.05]) == [True, True]


def test_holm_of_one_test_is_the_level_itself():
    assert holm([0.05]) == [True] and holm([0.0501]) == [False] and holm([]) == []
    assert holm([0.05], level=0.01) == [False]


@pytest.mark.parametrize("seed", range(5))
def test_holm_lies_between_bonferroni_and_no_correction(seed):
    p_values = (np.random.default_rng(seed).random(12) ** 3).tolist()
    found = np.array(holm(p_values))
    assert (found >= (np.array(p_values) <= 0.05 / 12)).all() and (found <= (np.array(p_values) <= 0.05)).all()


TOPICS = [22, 15, 12, 10, 10, 4, 4, 3, 3, 2, *[1] * 8]
"""Test passages of the 18 documents of the default corpus."""


def answers_by_group(random, sizes, accuracy, correlation):
    """Right and wrong answers of groups whose own accuracies follow a beta distribution; and the groups."""
    groups, rest = np.repeat(np.arange(len(sizes)), sizes), (1 - correlation) / max(correlation, 1e-3)
    own = random.beta(accuracy * rest, (1 - accuracy) * rest, len(sizes)) if correlation < 1 else None
    own = (random.random(len(sizes)) < accuracy) if own is None else own
    return random.random(len(groups)) < own[groups], groups


@pytest.mark.parametrize("sizes", [[10] * 5, [10] * 10, TOPICS], ids=["5 of 10", "10 of 10", "topics"])
def test_the_interval_of_a_difference_of_few_groups_holds_the_truth(sizes):
    random, groups, held = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes), 0
    for _ in range(400):
        first, second = (answers_by_group(random, sizes, accuracy, 0.15)[0] for accuracy in (0.85, 0.75))
        found = paired_difference(first, second, groups, draws=500)
        held += found.low <= 0.1 <= found.high
    assert held / 400 >= 0.92


def test_a_single_group_leaves_every_difference_open():
    first, second = np.ones(9, bool), np.arange(9) < 4
    assert paired_difference(first, second, np.zeros(9))[1:] == (-1, 1, 1)


@pytest.mark.parametrize(
    "sizes, accuracy, correlation, least",
    [
        *((TOPICS, *case, 0.93) for case in product([0.2, 0.5, 0.8], [0.0, 0.1, 0.5, 1.0])),
        ([10] * 5, 0.2, 0.6, 0.9),
        ([50] + [2] * 39, 0.95, 0.3, 0.87),  # the worst that was found
    ],
)
def test_the_interval_of_a_few_groups_holds_the_truth(sizes, accuracy, correlation, least):
    random, held, held_without = np.random.default_rng(0), 0, 0
    for _ in range(600):
        right, groups = answers_by_group(random, sizes, accuracy, correlation)
        low, high = wilson_interval(right.mean(), effective_count(right, groups))
        held += low <= accuracy <= high
        low, high = wilson_interval(right.mean(), len(right))
        held_without += low <= accuracy <= high
    assert held / 600 >= least
    assert correlation < 0.5 or held_without / 600 < 0.8


def test_answers_of_one_row_a_group_are_as_many_as_there_are():
    right = np.random.default_rng(0).random(50) < 0.7
    assert effective_count(right, None) == effective_count(right, np.arange(50)) == 50


def test_groups_that_answer_as_one_are_one_observation_each():
    random, groups = np.random.default_rng(0), np.repeat(np.arange(1000), 5)
    assert effective_count((random.random(1000) < 0.5)[groups], groups) == pytest.approx(1000, rel=0.01)
    assert effective_count(random.random(5000) < 0.5, groups) == pytest.approx(5000, rel=0.1)


@pytest.mark.parametrize("groups", [[0] * 9, [0] * 8 + [1]])
def test_one_large_group_tells_next_to_nothing(groups):
    low, high = wilson_interval(1.0, effective_count(np.ones(9, bool), np.array(groups)))
    assert low < 0.1 and high == 1.0
