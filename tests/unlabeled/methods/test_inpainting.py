import numpy as np
import pytest
import torch

from unlabeled.methods.inpainting import Inpainting
from unlabeled.nn.small_networks import build_encoder


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def method(architecture="small_resnet", **constants):
    torch.manual_seed(0)
    return Inpainting(build_encoder(architecture, 1, 12), **{"width": 4} | constants)


def images(n, seed=0):
    return torch.randn(n, 1, 12, 12, generator=seeded(seed))


def test_loss_is_the_slow_loop_over_the_holes():
    inpainting, batch = method().eval(), images(4)
    torch.manual_seed(1)
    loss = inpainting(batch)
    torch.manual_seed(1)
    holes = inpainting.draw_holes(batch)
    filled = inpainting.fill(batch, holes)
    errors = []
    for i in range(4):
        for y in range(12):
            for x in range(12):
                if holes[i, 0, y, x]:
                    errors.append((filled[i, 0, y, x] - batch[i, 0, y, x]).item() ** 2)
    assert loss.item() == pytest.approx(np.mean(errors), rel=1e-5)


def test_holes_are_squares_of_the_size_asked_for_at_places_of_their_own():
    holes = method(hole=0.5).draw_holes(images(200))
    assert (holes.sum((1, 2, 3)) == 36).all() and ((holes == 0) | (holes == 1)).all()
    assert len(holes.flatten(1).unique(dim=0)) > 40 and (holes.mean(0) > 0).all()


def test_what_is_in_a_hole_never_reaches_the_network():
    inpainting, batch = method().eval(), images(4)
    holes = inpainting.draw_holes(batch)
    changed = torch.where(holes.bool(), batch + 100, batch)
    assert torch.equal(inpainting.fill(batch, holes), inpainting.fill(changed, holes))


def test_a_perfect_filling_costs_nothing(monkeypatch):
    inpainting, batch = method(), images(4)
    monkeypatch.setattr(inpainting, "fill", lambda images, holes: batch)
    assert inpainting(batch).item() == 0


def test_what_is_shown_differs_from_the_image_in_its_hole_only():
    inpainting, batch = method(hole=0.5).eval(), images(6) + 10
    image, holed, filled = inpainting.illustrate(batch).values()
    inside = holed == 0
    assert torch.equal(image, batch) and (inside.sum((1, 2, 3)) == 36).all()
    assert torch.equal(holed[~inside], batch[~inside]) and torch.equal(filled[~inside], batch[~inside])
    assert (filled[inside] != batch[inside]).all()


def test_a_perfect_filling_is_shown_as_the_image(monkeypatch):
    inpainting, batch = method().eval(), images(4)
    monkeypatch.setattr(inpainting, "fill", lambda images, holes: batch)
    torch.testing.assert_close(inpainting.illustrate(batch)["filled in"], batch)


def test_some_steps_lower_the_loss():
    inpainting, batch = method(), torch.linspace(-1, 1, 12).expand(16, 1, 12, 12).contiguous()
    optimizer, losses = torch.optim.AdamW(inpainting.parameters(), 0.01), []
    torch.manual_seed(0)
    for _ in range(20):
        loss = inpainting(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]


@pytest.mark.parametrize("architecture", ["small_resnet", "small_vit"])
def test_the_gradient_reaches_the_encoder_and_the_decoder(architecture):
    inpainting = method(architecture)
    inpainting(images(8)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in inpainting.parameters())


@pytest.mark.parametrize("hole", [0, 1, -0.5])
def test_a_hole_of_nothing_or_everything_is_refused(hole):
    with pytest.raises(ValueError, match=f"hole: received {hole}, expected a number between 0 and 1"):
        method(hole=hole)
