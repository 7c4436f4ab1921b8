import copy
import math

import numpy as np
import pytest
import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.utils import update_momentum
from torch import nn

from unlabeled.methods.byol import BYOL, byol_loss
from unlabeled.nn.ema import cosine_momentum
from unlabeled.nn.small_networks import SmallResNet


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def method(momentum=0.9, **constants):
    torch.manual_seed(0)
    return BYOL(SmallResNet(1, 8, (4, 8, 16)), hidden_dim=16, projection_dim=8, momentum=momentum, **constants)


def linear_method(momentum=0.9, **constants):
    """BYOL of a linear encoder in float64, small enough to write out."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    encoder.feature_dim = 5
    return BYOL(encoder, hidden_dim=7, projection_dim=4, momentum=momentum, **constants).double()


def slow_mlp(inputs, layers):
    """Linear, one batch's BatchNorm, ReLU, linear: a loop over rows and units."""
    first, norm, _, last, *more = layers
    hidden = np.array([[float(np.dot(unit, row)) for unit in first.weight.detach().numpy()] for row in inputs])
    for j in range(hidden.shape[1]):
        scale, shift = norm.weight[j].item(), norm.bias[j].item()
        hidden[:, j] = [max(0.0, h * scale + shift) for h in slow_norm(hidden[:, j], norm.eps)]
    outputs = slow_linear(hidden, last)
    return np.stack([slow_norm(column, more[0].eps) for column in outputs.T], 1) if more else outputs


def slow_linear(inputs, layer):
    return inputs @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def slow_norm(column, eps):
    mean = sum(column) / len(column)
    return (column - mean) / math.sqrt(sum((column - mean) ** 2) / len(column) + eps)


def slow_distance(prediction, target):
    """‖q̄ − z̄′‖², equation 2, for one image."""
    prediction, target = prediction / math.sqrt(sum(prediction**2)), target / math.sqrt(sum(target**2))
    return sum((p - t) ** 2 for p, t in zip(prediction, target, strict=True))


def slow_byol(byol, batch):
    """Equations 2 and 3 with both views through a network as one batch."""
    rows = batch.flatten(1).numpy()

    def project(encoder, projector):
        return slow_mlp(slow_linear(rows, encoder[1]), projector)

    predict = slow_linear if isinstance(byol.predictor, nn.Linear) else slow_mlp
    prediction = predict(project(byol.encoder, byol.projector), byol.predictor)
    target, images = project(*byol.target), len(rows) // 2
    first = sum(slow_distance(prediction[i], target[images + i]) for i in range(images)) / images
    return first + sum(slow_distance(prediction[images + i], target[i]) for i in range(images)) / images


def test_loss_is_the_slow_loop_and_lightlys():
    prediction, target = torch.randn(2, 9, 5, generator=seeded(), dtype=torch.float64)
    loss = byol_loss(prediction, target).item()
    slow = np.mean([slow_distance(p, t) for p, t in zip(prediction.numpy(), target.numpy(), strict=True)])
    assert loss == pytest.approx(slow, abs=1e-12)
    assert loss == pytest.approx(2 + 2 * NegativeCosineSimilarity()(prediction, target).item(), abs=1e-12)


@pytest.mark.parametrize("predictor", ["mlp", "linear"])
@pytest.mark.parametrize("projection_norm", [False, True])
def test_forward_is_the_papers_symmetrised_loss_whatever_the_heads(predictor, projection_norm):
    byol = linear_method(predictor=predictor, projection_norm=projection_norm)
    batch = torch.randn(12, 1, 3, 4, generator=seeded(), dtype=torch.float64)
    for parameter in byol.target.parameters():
        parameter.data += torch.randn(parameter.shape, generator=seeded(1), dtype=torch.float64)
    assert byol(batch).item() == pytest.approx(slow_byol(byol, batch), abs=1e-12)


def test_the_two_views_may_change_places():
    byol, batch = linear_method(), torch.randn(12, 1, 3, 4, generator=seeded(), dtype=torch.float64)
    assert byol(batch).item() == pytest.approx(byol(batch.roll(6, 0)).item(), abs=1e-12)


def test_loss_of_the_same_is_0_of_the_orthogonal_2_of_the_opposite_4_whatever_their_length():
    x, y = torch.eye(4)[:2] * 3
    x, y = x.expand(5, 4), y.expand(5, 4)
    assert byol_loss(x, 7 * x).item() == pytest.approx(0, abs=1e-6)
    assert byol_loss(x, y).item() == pytest.approx(2, abs=1e-6)
    assert byol_loss(x, -x).item() == pytest.approx(4, abs=1e-6)


@pytest.mark.parametrize("sign, loss", [(1, 0), (-1, 8)])
def test_forward_is_0_where_networks_agree_and_8_where_they_are_opposite(sign, loss):
    byol = linear_method()
    byol.projector, byol.predictor = nn.Identity(), nn.Identity()
    byol.target = copy.deepcopy(byol.encoder)
    for parameter in byol.target.parameters():
        parameter.data *= sign
    view = torch.randn(6, 1, 3, 4, generator=seeded(), dtype=torch.float64)
    assert byol(torch.cat([view, view])).item() == pytest.approx(loss, abs=1e-6)


def test_some_steps_lower_the_loss():
    byol, view = method(), torch.randn(16, 1, 8, 8, generator=seeded())
    batch = torch.cat([view, view + 0.1 * torch.randn(view.shape, generator=seeded(1))])
    optimizer = torch.optim.SGD([p for p in byol.parameters() if p.requires_grad], 0.1, momentum=0.9)
    losses = []
    for step in range(20):
        loss = byol(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        byol.after_step(step / 20)
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("heads", [{}, {"predictor": "linear", "projection_norm": True}])
def test_the_gradient_reaches_all_but_the_target(heads):
    byol = method(**heads)
    byol(torch.randn(8, 1, 8, 8, generator=seeded())).backward()
    for part in (byol.encoder, byol.projector, byol.predictor):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())
        assert any(p.grad.abs().max() > 0 for p in part.parameters())
    assert all(p.grad is None and not p.requires_grad for p in byol.target.parameters())


def test_loss_itself_stops_the_gradient_at_the_target():
    prediction, target = torch.randn(2, 4, 3, generator=seeded()).unbind()
    prediction.requires_grad_(), target.requires_grad_()
    byol_loss(prediction, target).backward()
    assert prediction.grad.abs().sum() > 0 and target.grad is None


def test_the_target_starts_as_a_copy_of_its_own():
    byol = method()
    online = [*byol.encoder.parameters(), *byol.projector.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(online, byol.target.parameters(), strict=True))
    online[0].data += 1
    assert not torch.equal(online[0], next(byol.target.parameters()))


def test_the_target_moves_as_lightlys_does():
    byol = method(momentum=0.7)
    for parameter in [*byol.encoder.parameters(), *byol.projector.parameters()]:
        parameter.data += torch.randn(parameter.shape, generator=seeded())
    theirs = copy.deepcopy(byol.target)
    update_momentum(byol.encoder, theirs[0], cosine_momentum(0.7, 0.4))
    update_momentum(byol.projector, theirs[1], cosine_momentum(0.7, 0.4))
    byol.after_step(0.4)
    for ours, other in zip(byol.target.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours, other)


@pytest.mark.parametrize("momentum, progress, share", [(0.0, 0.0, 1.0), (0.9, 1.0, 0.0), (0.9, 0.0, 0.1)])
def test_the_target_goes_its_share_of_the_way(momentum, progress, share):
    byol = method(momentum)
    before = next(byol.target.parameters()).clone()
    weight = next(byol.encoder.parameters())
    weight.data += 1
    byol.after_step(progress)
    torch.testing.assert_close(next(byol.target.parameters()), before + share)


def test_after_step_leaves_the_online_network_and_the_statistics_alone():
    byol = method()
    byol(torch.randn(8, 1, 8, 8, generator=seeded()))
    online = copy.deepcopy(nn.ModuleList([byol.encoder, byol.projector, byol.predictor]).state_dict())
    buffers = copy.deepcopy(dict(byol.target.named_buffers()))
    byol.after_step(0.1)
    after = nn.ModuleList([byol.encoder, byol.projector, byol.predictor]).state_dict()
    assert all(torch.equal(value, after[name]) for name, value in online.items())
    assert all(torch.equal(value, buffers[name]) for name, value in byol.target.named_buffers())


def test_momentum_rises_from_its_start_to_one():
    taus = [cosine_momentum(0.99, k / 100) for k in range(101)]
    assert taus[0] == pytest.approx(0.99) and taus[-1] == 1 and taus[50] == pytest.approx(0.995)
    assert all(a < b for a, b in zip(taus, taus[1:], strict=False))


def test_the_momentum_that_is_told_rises_to_one():
    byol, told = method(momentum=0.9), []
    for progress in (0.0, 0.5, 1.0):
        byol.after_step(progress)
        told.append(byol.gauges()["momentum"])
    assert told == pytest.approx([0.9, 0.95, 1.0]) and method(momentum=0.9).gauges() == {"momentum": 0.9}


def test_a_momentum_that_ends_where_it_starts_stays():
    byol = BYOL(SmallResNet(1, 8, (4, 8, 16)), momentum=0.9, final_momentum=0.9)
    before = next(byol.target.parameters()).clone()
    next(byol.encoder.parameters()).data += 1
    byol.after_step(1.0)
    torch.testing.assert_close(next(byol.target.parameters()), before + 0.1)
    assert byol.gauges()["momentum"] == pytest.approx(0.9)


@pytest.mark.parametrize("name", ["momentum", "final_momentum"])
@pytest.mark.parametrize("momentum", [-0.1, 1.1, math.nan])
def test_a_momentum_that_is_no_average_is_refused(name, momentum):
    with pytest.raises(ValueError, match=f"^{name}: received {momentum}, expected 0 to 1"):
        BYOL(SmallResNet(1, 8, (4, 8, 16)), **{name: momentum})
