import numpy as np
import pytest

from unlabeled.video.correspondence import Correspondence, correspondence


def test_the_threshold_is_the_best_of_all():
    rng = np.random.default_rng(0)
    told = Correspondence(rng.normal(0.5, 0.3, 80), rng.normal(0.1, 0.3, 80))
    assert told.best() == pytest.approx(max(told.accuracy(t) for t in np.linspace(-1, 2, 3001)), abs=1e-9)


def test_what_is_perfectly_apart_is_told_right_throughout():
    assert Correspondence(np.array([0.8, 0.9]), np.array([0.1, 0.2])).best() == 1


def test_similarities_that_say_nothing_are_told_by_chance():
    assert Correspondence(np.full(9, 0.3), np.full(9, 0.3)).best() == 0.5


@pytest.mark.parametrize("n", [2, 3, 50])
def test_no_video_is_asked_of_its_own_sound_twice(n):
    first = np.eye(n, dtype=np.float32)
    told = correspondence(first, first)
    assert (told.own == 1).all() and (told.other == 0).all()
