import math

import numpy as np
import pytest
import torch

from unlabeled.methods.supervised import Supervised
from unlabeled.nn.small_networks import SmallResNet


def method(**constants):
    torch.manual_seed(0)
    return Supervised(SmallResNet(1, 8, (4, 8, 16)), **{"classes": 3} | constants)


def images(n, seed=0):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


TARGETS = torch.tensor([0, 2, 1, 2])


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_is_the_slow_loop(smoothing):
    supervised, batch = method(label_smoothing=smoothing).eval(), images(4)
    losses = []
    for image, target in zip(batch, TARGETS.tolist(), strict=True):
        logits = supervised.head(supervised.encoder(image[None]))[0].tolist()
        logs = [logit - math.log(sum(map(math.exp, logits))) for logit in logits]
        losses.append(-(1 - smoothing) * logs[target] - smoothing * sum(logs) / 3)
    assert supervised(batch, TARGETS).item() == pytest.approx(np.mean(losses), abs=1e-5)


def test_loss_by_chance_is_the_log_of_the_number_of_classes():
    supervised = method()
    torch.nn.init.zeros_(supervised.head.weight), torch.nn.init.zeros_(supervised.head.bias)
    assert supervised(images(4), TARGETS).item() == pytest.approx(math.log(3), abs=1e-6)


def test_some_steps_lower_the_loss():
    supervised, batch = method(), images(4)
    optimizer, losses = torch.optim.AdamW(supervised.parameters(), 0.01), []
    for _ in range(15):
        loss = supervised(batch, TARGETS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_the_gradient_reaches_everything():
    supervised = method()
    supervised(images(4), TARGETS).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in supervised.parameters())


def test_a_smoothing_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="label_smoothing: received 2, expected 0 to 1"):
        method(label_smoothing=2)
