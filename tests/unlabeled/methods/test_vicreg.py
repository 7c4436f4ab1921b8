import numpy as np
import pytest
import torch
from lightly.loss import VICRegLoss

from unlabeled.methods.vicreg import VICReg, vicreg_loss
from unlabeled.nn.small_networks import SmallResNet

WEIGHTS = (25.0, 25.0, 1.0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def method(**constants):
    torch.manual_seed(0)
    return VICReg(SmallResNet(1, 8, (4, 8, 16)), **{"projection_dim": 16} | constants)


def images(n, seed=0):
    return torch.randn(n, 1, 8, 8, generator=seeded(seed))


def slow_vicreg(first, second, invariance, variance, covariance):
    """Equations 1 to 6, feature by feature."""
    n, dims = first.shape
    distance = np.mean([(a - b) ** 2 for a, b in zip(first.ravel(), second.ravel(), strict=True)])
    spread, redundancy = 0.0, 0.0
    for z in (first, second):
        spread += np.mean([max(0.0, 1 - np.sqrt(z[:, j].var(ddof=1) + 1e-4)) for j in range(dims)]) / 2
        centred = z - z.mean(0)
        for i in range(dims):
            for j in range(dims):
                if i != j:
                    redundancy += (centred[:, i] @ centred[:, j] / (n - 1)) ** 2 / dims
    return invariance * distance + variance * spread + covariance * redundancy


def test_loss_is_the_slow_loop_and_lightlys():
    first, second = torch.randn(2, 9, 5, generator=seeded(), dtype=torch.float64)
    loss = vicreg_loss(first, second, *WEIGHTS).item()
    assert loss == pytest.approx(slow_vicreg(first.numpy(), second.numpy(), *WEIGHTS), abs=1e-10)
    assert loss == pytest.approx(VICRegLoss()(first, second).item(), abs=1e-10)


def test_loss_of_equal_spread_and_uncorrelated_features_is_nothing():
    z = torch.randn(50, 5, generator=seeded(), dtype=torch.float64)
    z = torch.linalg.qr(z - z.mean(0))[0] * 2 * 49**0.5
    assert vicreg_loss(z, z, *WEIGHTS).item() == pytest.approx(0, abs=1e-8)


def test_a_collapse_costs_what_the_variance_weighs():
    z = torch.ones(9, 5, dtype=torch.float64)
    assert vicreg_loss(z, z, *WEIGHTS).item() == pytest.approx(25 * (1 - 1e-2), abs=1e-9)


def test_the_two_views_may_change_places():
    first, second = torch.randn(2, 9, 5, generator=seeded(), dtype=torch.float64)
    there, back = vicreg_loss(first, second, *WEIGHTS), vicreg_loss(second, first, *WEIGHTS)
    assert there.item() == pytest.approx(back.item(), abs=1e-12)


def test_forward_is_the_loss_of_the_two_halves():
    vicreg, batch = method(), images(8)
    first, second = vicreg.projector(vicreg.encoder(batch)).chunk(2)
    assert vicreg(batch).item() == pytest.approx(vicreg_loss(first, second, *WEIGHTS).item(), rel=1e-5)


def test_some_steps_lower_the_loss():
    vicreg, view = method(), images(32)
    batch = torch.cat([view, view + 0.1 * images(32, 1)])
    optimizer, losses = torch.optim.AdamW(vicreg.parameters(), 0.01), []
    for _ in range(30):
        loss = vicreg(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_the_gradient_reaches_everything():
    vicreg = method()
    vicreg(images(8)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vicreg.parameters())


@pytest.mark.parametrize("weight", ["invariance", "variance", "covariance"])
def test_a_negative_weight_is_refused(weight):
    with pytest.raises(ValueError, match=f"{weight}: received -1, expected 0 to inf"):
        method(**{weight: -1})
