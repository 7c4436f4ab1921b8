import math

import numpy as np
import pytest
import torch
from lightly.loss import NTXentLoss

from unlabeled.methods.simclr import SimCLR, nt_xent_loss
from unlabeled.nn.small_networks import SmallResNet


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def method(**constants):
    torch.manual_seed(0)
    return SimCLR(SmallResNet(1, 8, (4, 8, 16)), hidden_dim=16, projection_dim=8, **constants)


def slow_nt_xent(first, second, temperature):
    """Equation 1, one pair of views at a time."""
    z = np.concatenate([first, second])
    z, b = z / np.linalg.norm(z, axis=1, keepdims=True), len(first)
    losses = []
    for i in range(2 * b):
        own = math.exp(z[i] @ z[(i + b) % (2 * b)] / temperature)
        losses.append(-math.log(own / sum(math.exp(z[i] @ z[k] / temperature) for k in range(2 * b) if k != i)))
    return np.mean(losses)


def test_loss_is_the_slow_loop_and_lightlys():
    first, second = torch.randn(2, 9, 5, generator=seeded(), dtype=torch.float64)
    loss = nt_xent_loss(first, second, 0.3).item()
    assert loss == pytest.approx(slow_nt_xent(first.numpy(), second.numpy(), 0.3), abs=1e-12)
    assert loss == pytest.approx(NTXentLoss(temperature=0.3)(first, second).item(), abs=1e-12)


@pytest.mark.parametrize("b", [2, 7])
def test_loss_of_equal_embeddings_is_the_log_of_how_many_others_there_are(b):
    ones = torch.ones(b, 3, dtype=torch.float64)
    assert nt_xent_loss(ones, ones, 0.5).item() == pytest.approx(math.log(2 * b - 1), abs=1e-12)


def test_the_two_views_may_change_places():
    first, second = torch.randn(2, 6, 5, generator=seeded(), dtype=torch.float64)
    assert nt_xent_loss(first, second, 0.2).item() == pytest.approx(nt_xent_loss(second, first, 0.2).item(), abs=1e-12)


def test_some_steps_lower_the_loss():
    simclr, view = method(), torch.randn(16, 1, 8, 8, generator=seeded())
    batch = torch.cat([view, view + 0.1 * torch.randn(view.shape, generator=seeded(1))])
    optimizer = torch.optim.SGD(simclr.parameters(), 0.1, momentum=0.9)
    losses = []
    for _ in range(20):
        loss = simclr(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_gradient_reaches_everything():
    simclr = method()
    simclr(torch.randn(8, 1, 8, 8, generator=seeded())).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in simclr.parameters())


@pytest.mark.parametrize("temperature", [0, -1, math.nan])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ValueError, match=f"temperature: received {temperature}, expected a number above 0"):
        method(temperature=temperature)
