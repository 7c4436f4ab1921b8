import numpy as np
import pytest
import torch
from lightly.loss import BarlowTwinsLoss

from unlabeled.methods.barlow_twins import BarlowTwins, barlow_twins_loss
from unlabeled.nn.small_networks import SmallResNet


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def method(**constants):
    torch.manual_seed(0)
    return BarlowTwins(SmallResNet(1, 8, (4, 8, 16)), **{"projection_dim": 16} | constants)


def images(n, seed=0):
    return torch.randn(n, 1, 8, 8, generator=seeded(seed))


def slow_barlow_twins(first, second, redundancy):
    """Equations 1 and 2, one pair of features at a time."""
    z1, z2 = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (first, second))
    loss = 0.0
    for i in range(z1.shape[1]):
        for j in range(z2.shape[1]):
            correlation = sum(a * b for a, b in zip(z1[:, i], z2[:, j], strict=True)) / len(z1)
            loss += (1 - correlation) ** 2 if i == j else redundancy * correlation**2
    return loss


def test_loss_is_the_slow_loop_and_lightlys():
    first, second = torch.randn(2, 9, 5, generator=seeded(), dtype=torch.float64)
    loss = barlow_twins_loss(first, second, 0.1).item()
    assert loss == pytest.approx(slow_barlow_twins(first.numpy(), second.numpy(), 0.1), abs=1e-10)
    assert loss == pytest.approx(BarlowTwinsLoss(lambda_param=0.1)(first, second).item(), abs=1e-10)


def test_loss_of_equal_and_uncorrelated_features_is_nothing():
    z = torch.linalg.qr(torch.randn(50, 5, generator=seeded(), dtype=torch.float64))[0]
    z = torch.linalg.qr(z - z.mean(0))[0] * 50**0.5
    assert barlow_twins_loss(z, z, 1.0).item() == pytest.approx(0, abs=1e-8)


def test_loss_of_equal_features_that_are_all_the_same_is_the_redundancy():
    z = torch.randn(30, 1, generator=seeded(), dtype=torch.float64).expand(-1, 4)
    assert barlow_twins_loss(z, z, 0.5).item() == pytest.approx(0.5 * 12, rel=1e-3)


def test_the_two_views_may_change_places():
    first, second = torch.randn(2, 9, 5, generator=seeded(), dtype=torch.float64)
    there, back = barlow_twins_loss(first, second, 0.3), barlow_twins_loss(second, first, 0.3)
    assert there.item() == pytest.approx(back.item(), abs=1e-12)


def test_forward_is_the_loss_of_the_two_halves():
    barlow, batch = method(), images(8)
    first, second = barlow.projector(barlow.encoder(batch)).chunk(2)
    assert barlow(batch).item() == pytest.approx(barlow_twins_loss(first, second, 0.005).item(), rel=1e-5)


def test_the_loss_has_a_scale():
    assert method(loss_scale=0.1)(images(8)).item() == pytest.approx(0.1 * method()(images(8)).item(), rel=1e-5)
    with pytest.raises(ValueError, match="loss_scale: received 0, expected a number above 0"):
        method(loss_scale=0)


def test_some_steps_lower_the_loss():
    barlow, view = method(), images(32)
    batch = torch.cat([view, view + 0.1 * images(32, 1)])
    optimizer, losses = torch.optim.AdamW(barlow.parameters(), 0.01), []
    for _ in range(20):
        loss = barlow(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_the_gradient_reaches_everything():
    barlow = method()
    barlow(images(8)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in barlow.parameters())


def test_a_negative_redundancy_is_refused():
    with pytest.raises(ValueError, match="redundancy: received -1, expected 0 to inf"):
        method(redundancy=-1)
