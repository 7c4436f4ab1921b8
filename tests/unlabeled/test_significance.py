import numpy as np
import pytest
from scipy.stats import binomtest

from unlabeled.significance import holm, paired_bootstrap, wilson_interval


def answers(n=200, first=0.8, second=0.6, seed=0):
    """Whether two encoders were right about each of n images, independently."""
    return tuple(np.random.default_rng(seed).random((2, n)) < np.array([[first], [second]]))


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


@pytest.mark.parametrize("n, first, second", [(60, 0.7, 0.6), (200, 0.8, 0.6), (300, 0.5, 0.5)])
def test_the_bootstrap_is_the_slow_loop(n, first, second):
    both = answers(n, first, second)
    drawn, found = slow_bootstrap(*both), paired_bootstrap(*both)
    below, ties = (drawn < 0).mean(), (drawn == 0).mean()
    assert found.mean == pytest.approx(both[0].mean() - both[1].mean())
    assert found[1:3] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.012)
    assert found.p_value == pytest.approx(2 * min(below + ties / 2, 1 - below - ties / 2), abs=0.03)


def test_swapping_the_two_turns_the_difference_round():
    first, second = answers(first=0.7, second=0.64)
    one, other = paired_bootstrap(first, second), paired_bootstrap(second, first)
    assert other.mean == -one.mean
    assert other[1:3] == pytest.approx((-one.high, -one.low), abs=0.01)
    assert other.p_value == pytest.approx(one.p_value, abs=0.02) and 0.05 < one.p_value < 0.95


def test_identical_answers_do_not_differ():
    first, _ = answers()
    assert paired_bootstrap(first, first.copy()) == (0, 0, 0, 1)


def test_as_many_gains_as_losses_are_chance():
    first = np.arange(100) % 2 == 0
    found = paired_bootstrap(first, ~first)
    assert found.mean == 0 and found.low < 0 < found.high and found.p_value > 0.9


def test_a_clear_difference_has_the_smallest_p_value_there_is():
    found = paired_bootstrap(*answers(500, 0.9, 0.5))
    assert found.low > 0.3 and found.p_value == pytest.approx(1 / 10_000)


def test_what_both_get_right_or_wrong_tells_nothing():
    first, second = answers(100)
    same = np.ones(100, bool)
    alone, diluted = paired_bootstrap(first, second), paired_bootstrap(np.r_[first, same], np.r_[second, same])
    assert diluted.mean == pytest.approx(alone.mean / 2) and diluted.p_value == pytest.approx(alone.p_value, abs=0.01)


def test_the_seed_decides_the_draws():
    both = answers(first=0.7)
    first, again, other = (paired_bootstrap(*both, draws=500, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("one, other", [(3, 4), (0, 0)])
def test_answers_to_other_images_are_refused(one, other):
    with pytest.raises(ValueError, match=f"received answers to {one} and {other} images"):
        paired_bootstrap(np.ones(one, bool), np.ones(other, bool))


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
