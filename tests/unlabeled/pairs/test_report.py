import math

import numpy as np
import pytest

from unlabeled.pairs.report import smallest_loss


def test_captions_of_their_own_leave_no_loss_and_one_for_all_leaves_that_of_chance():
    assert smallest_loss(["a", "b", "c"], 64) == 0
    assert smallest_loss(["a"] * 100, 16) == pytest.approx(math.log(16))


def test_shared_captions_leave_the_mean_of_a_slow_loop_over_batches():
    captions, rng = np.repeat(["a", "b", "c", "d"], [1, 5, 10, 20]), np.random.default_rng(1)
    slow = []
    for _ in range(2000):
        batch = rng.permutation(captions)[:8]
        slow.append(np.mean([math.log((batch == caption).sum()) for caption in batch]))
    assert smallest_loss(captions, 8) == pytest.approx(np.mean(slow), abs=0.03)
