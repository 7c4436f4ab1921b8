import numpy as np
import pytest

from unlabeled.evaluation.retrieval import chance, recall


def slow_recall(similarity, queries, bank, k):
    """One query at a time."""
    return np.mean([queries[i] in bank[np.argsort(-row, kind="stable")[:k]] for i, row in enumerate(similarity)])


@pytest.mark.parametrize("alike", [1, 3])
def test_recall_is_the_slow_loop(alike):
    rng = np.random.default_rng(0)
    similarity, of = rng.random((700, 60)), np.arange(60) // alike
    queries = rng.integers(60 // alike, size=700)
    found = recall(lambda rows: similarity[rows], queries, of)
    assert found == {f"recall_at_{k}": pytest.approx(slow_recall(similarity, queries, of, k)) for k in (1, 5, 10)}


def test_a_bank_of_three_has_all_within_five():
    similarity = np.random.default_rng(0).random((3, 3))
    found = recall(lambda rows: similarity[rows], np.arange(3), np.arange(3))
    assert found["recall_at_5"] == found["recall_at_10"] == 1


@pytest.mark.parametrize("alike", [1, 4])
def test_chance_is_what_similarities_at_random_come_to(alike):
    rng, of = np.random.default_rng(0), np.arange(40) // alike
    queries = np.repeat(np.unique(of), 2000 // len(np.unique(of)))
    measured = recall(lambda rows: rng.random((len(queries[rows]), 40)), queries, of)
    assert chance(queries, of) == {name: pytest.approx(value, abs=0.04) for name, value in measured.items()}


def test_one_right_among_forty_is_found_by_chance_in_k_of_forty():
    assert chance(np.arange(40), np.arange(40)) == {f"recall_at_{k}": pytest.approx(k / 40) for k in (1, 5, 10)}
