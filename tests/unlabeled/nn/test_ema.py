import pytest
import torch
from torch import nn

from unlabeled.nn.ema import cosine_momentum, follow


def test_the_slow_network_goes_a_share_of_the_way():
    fast, slow = nn.Linear(3, 2), nn.Linear(3, 2)
    before = [p.clone() for p in slow.parameters()]
    follow(slow, [fast], 0.9)
    for old, new, goal in zip(before, slow.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * goal)


def test_a_copy_of_several_modules_follows_each():
    parts = nn.Linear(2, 2), nn.Linear(2, 2)
    slow = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    follow(slow, parts, 0.0)
    assert torch.equal(slow[0].weight, parts[0].weight) and torch.equal(slow[1].bias, parts[1].bias)


@pytest.mark.parametrize("progress, expected", [(0, 0.9), (0.5, 0.92), (1, 0.94)])
def test_momentum_may_end_short_of_one(progress, expected):
    assert cosine_momentum(0.9, progress, 0.94) == pytest.approx(expected)


@pytest.mark.parametrize("progress, expected", [(0, 0.9), (0.5, 0.95), (1, 1.0)])
def test_momentum_rises_to_one_on_a_cosine(progress, expected):
    assert cosine_momentum(0.9, progress) == pytest.approx(expected)
