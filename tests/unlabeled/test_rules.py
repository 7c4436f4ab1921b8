"""A fast part of benchmarks/rules.py: how often rules speak on clean data, and whether they find what is planted."""

import logging

import numpy as np
import pytest

from benchmarks import rules

FEW = 0.1
"""Of the benchmark's draws."""
SLOW = ("10000 images", "1000 images")


@pytest.fixture(autouse=True)
def silent():
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_a_rule_is_silent_on_clean_data_and_speaks_where_something_is_planted(rule):
    cases = [case for case in rule() if not case.situation.endswith(SLOW) and "far-out" not in case.rule]
    clean = [rules.rate(case, FEW) for case in cases if not case.fault and "1000 images" not in case.situation]
    rates, draws = map(np.array, zip(*clean, strict=True))
    assert np.average(rates, weights=draws) <= (0.01 if rule is rules.ended_as_collapsed else 0.05)
    first = next(case for case in cases if case.fault)
    assert rules.rate(first, FEW)[0] >= 0.5
