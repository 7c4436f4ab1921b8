import math

import pytest

from unlabeled.training.constants import check_positive, check_range, check_share


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_a_value_within_the_range_passes(value):
    check_range("momentum", value, 0, 1)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_a_value_outside_of_the_range_does_not(value):
    with pytest.raises(ValueError, match=f"momentum: received {value}, expected 0 to 1"):
        check_range("momentum", value, 0, 1)


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_what_is_not_positive_is_refused(value):
    with pytest.raises(ValueError, match=f"temperature: received {value}, expected a number above 0"):
        check_positive("temperature", value)


@pytest.mark.parametrize("value", [0, 1, -0.5, 2, math.nan])
def test_a_share_is_neither_nothing_nor_everything(value):
    with pytest.raises(ValueError, match=f"hole: received {value}, expected a number between 0 and 1"):
        check_share("hole", value)


def test_what_may_be_passes():
    check_positive("temperature", 0.1), check_share("hole", 0.5)
