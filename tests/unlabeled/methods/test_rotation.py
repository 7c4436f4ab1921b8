import math

import numpy as np
import pytest
import torch

from unlabeled.methods.rotation import Rotation, rotations
from unlabeled.nn.small_networks import SmallResNet


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def method(width=4):
    torch.manual_seed(0)
    return Rotation(SmallResNet(1, 8, (width, 2 * width, 4 * width)))


def images(n, seed=0):
    return torch.rand(n, 1, 8, 8, generator=seeded(seed))


def test_rotations_are_numpys_quarter_turns():
    batch = images(3)
    for turns, turned in enumerate(rotations(batch).unflatten(0, (4, 3))):
        np.testing.assert_array_equal(turned, np.rot90(batch.numpy(), turns, (2, 3)))


def test_loss_is_the_slow_loop():
    rotation, batch = method().eval(), images(3)
    losses = []
    for image in batch:
        for turns in range(4):
            logits = rotation.head(rotation.encoder(image.rot90(turns, (1, 2))[None])).detach().double().numpy()[0]
            losses.append(-math.log(math.exp(logits[turns]) / sum(map(math.exp, logits))))
    assert rotation(batch).item() == pytest.approx(np.mean(losses), abs=1e-6)


def test_loss_by_chance_is_log_4():
    rotation = method()
    torch.nn.init.zeros_(rotation.head.weight), torch.nn.init.zeros_(rotation.head.bias)
    assert rotation(images(5)).item() == pytest.approx(math.log(4), abs=1e-6)


class Oracle(torch.nn.Module):
    """Says of the i-th image that it was turned i times, as `illustrate` turns them."""

    def forward(self, features):
        return torch.eye(4)[torch.arange(len(features)) % 4]


def test_a_right_answer_turns_an_image_back():
    rotation, batch = method().eval(), images(6)
    rotation.head = Oracle()
    image, turned, back = rotation.illustrate(batch).values()
    assert torch.equal(image, batch) and torch.equal(back, batch)
    np.testing.assert_array_equal(turned[5], np.rot90(batch[5].numpy(), 1, (1, 2)))


def test_a_wrong_answer_does_not():
    rotation, batch = method().eval(), images(4)
    torch.nn.init.zeros_(rotation.head.weight), torch.nn.init.eye_(rotation.head.bias[None])  # always: not turned
    rows = rotation.illustrate(batch)
    assert torch.equal(rows["turned back by its answer"], rows["turned"])


def test_some_steps_lower_the_loss():
    rotation, batch = method(), images(8) * torch.linspace(0, 1, 8)
    optimizer, losses = torch.optim.AdamW(rotation.parameters(), 0.01), []
    for _ in range(20):
        loss = rotation(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_the_gradient_reaches_everything():
    rotation = method()
    rotation(images(8)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in rotation.parameters())


def test_round_objects_do_not_suit_it_and_digits_do(digits):
    at = torch.linspace(-1, 1, 16)
    discs = torch.stack([(at[:, None] ** 2 + at**2 < radius).float() for radius in torch.linspace(0.2, 0.9, 20)])
    assert "look the same after a quarter turn" in method().reason_unsuitable(discs[:, None])
    assert method().reason_unsuitable(torch.from_numpy(digits[0][:200]).float() / 255) is None
