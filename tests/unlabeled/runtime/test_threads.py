import os
import time

import pytest

from unlabeled.runtime.threads import batches_of, in_order


def test_what_is_made_comes_in_order_however_long_it_takes():
    def make(number):
        time.sleep(0.01 * (number % 3 == 0))
        return -number

    assert list(in_order(make, range(40))) == [-number for number in range(40)]


def test_a_bounded_number_is_under_way():
    taken = []
    made = in_order(str, (taken.append(number) or number for number in range(1000)))
    assert next(made) == "0" and len(taken) == 3 * os.cpu_count() + 1
    assert len(list(made)) == 999


def test_an_error_comes_in_its_place():
    made = in_order(lambda number: 1 // number, [1, 1, 0])
    assert [next(made), next(made)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(made)


def test_batches():
    assert list(batches_of(iter("abcde"), 2)) == [["a", "b"], ["c", "d"], ["e"]] and not list(batches_of(iter(""), 2))
