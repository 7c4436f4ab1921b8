import copy

import numpy as np
import pytest
import torch
from lightly.loss import NegativeCosineSimilarity

from unlabeled.methods.simsiam import SimSiam, negative_cosine
from unlabeled.nn.small_networks import SmallResNet


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def method(**constants):
    torch.manual_seed(0)
    return SimSiam(SmallResNet(1, 8, (4, 8, 16)), **{"projection_dim": 16, "predictor_dim": 8} | constants)


def images(n, seed=0):
    return torch.randn(n, 1, 8, 8, generator=seeded(seed))


def slow_negative_cosine(prediction, target):
    """Equation 1, one image at a time."""
    rows = zip(prediction, target, strict=True)
    return np.mean([-(p @ z) / (np.linalg.norm(p) * np.linalg.norm(z)) for p, z in rows])


def test_loss_is_the_slow_loop_and_lightlys():
    prediction, target = torch.randn(2, 9, 5, generator=seeded(), dtype=torch.float64)
    loss = negative_cosine(prediction, target).item()
    assert loss == pytest.approx(slow_negative_cosine(prediction.numpy(), target.numpy()), abs=1e-12)
    assert loss == pytest.approx(NegativeCosineSimilarity()(prediction, target).item(), abs=1e-12)


def test_forward_is_half_of_each_view_predicting_the_other():
    simsiam, batch = method(), images(8)
    projection = simsiam.projector(simsiam.encoder(batch))
    prediction = simsiam.predictor(projection)
    p, z = (each.detach().double().numpy() for each in (prediction, projection))
    expected = (slow_negative_cosine(p[:4], z[4:]) + slow_negative_cosine(p[4:], z[:4])) / 2
    assert simsiam(batch).item() == pytest.approx(expected, abs=1e-5)


def test_the_loss_of_equal_directions_is_minus_one_whatever_their_lengths():
    z = torch.randn(6, 5, generator=seeded(), dtype=torch.float64)
    assert negative_cosine(3 * z, z).item() == pytest.approx(-1, abs=1e-12)


def test_the_two_views_may_change_places():
    simsiam, batch = method(), images(8)
    assert simsiam(batch).item() == pytest.approx(simsiam(batch.roll(4, 0)).item(), abs=1e-6)


def test_no_gradient_flows_into_a_target():
    prediction, target = torch.randn(2, 4, 3, generator=seeded()).requires_grad_().unbind()
    prediction.retain_grad(), target.retain_grad()
    negative_cosine(prediction, target).backward()
    assert prediction.grad.abs().sum() > 0 and target.grad is None


def test_the_stopped_gradient_is_what_the_paper_stops():
    """The gradient of the encoder is that with the targets held at their values."""
    stopped, held, batch = method(), method(), images(8)
    stopped(batch).backward()
    with torch.no_grad():
        targets = copy.deepcopy(held).projector(copy.deepcopy(held).encoder(batch))
    p1, p2 = held.predictor(held.projector(held.encoder(batch))).chunk(2)
    z1, z2 = targets.chunk(2)
    cosine = torch.nn.functional.cosine_similarity
    (-(cosine(p1, z2).mean() + cosine(p2, z1).mean()) / 2).backward()
    for one, other in zip(stopped.parameters(), held.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4)


def test_some_steps_lower_the_loss():
    simsiam, view = method(), images(16)
    batch = torch.cat([view, view + 0.1 * images(16, 1)])
    optimizer, losses = torch.optim.SGD(simsiam.parameters(), 0.05, momentum=0.9), []
    for _ in range(20):
        loss = simsiam(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3


def test_the_gradient_reaches_everything():
    simsiam = method()
    simsiam(images(8)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in simsiam.parameters())


def test_a_batch_of_one_image_is_refused():
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        method()(images(1))
