"""A fast part of benchmarks/rules.py: how often rules speak on clean data, and whether they find what is planted."""

import logging

import numpy as np
import pytest

from benchmarks import rules


@pytest.fixture(autouse=True)
def _silent():
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_a_rule_is_silent_on_clean_data_and_speaks_where_something_is_planted(rule):
    cases = [case for case in rule() if "far-out" not in case.rule]
    clean = [case for case in cases if not case.fault and not {"1000", "2000", "10000"} & set(case.situation.split())]
    factor = 0.5 if rule in (rules.overfit_probe, rules.no_gain) else 0.1  # enough draws that chance does not decide
    rates, draws = map(np.array, zip(*(rules.rate(case, factor) for case in clean), strict=True))
    assert np.average(rates, weights=draws) <= (0.01 if rule is rules.ended_as_collapsed else 0.05)
    assert max(rules.rate(case, 0.1)[0] for case in cases if case.fault) >= 0.5
