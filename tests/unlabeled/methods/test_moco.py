import math

import numpy as np
import pytest
import torch
from lightly.loss import NTXentLoss
from torch.nn import functional as F

from unlabeled.methods.moco import MoCo, info_nce_loss
from unlabeled.nn.small_networks import SmallResNet


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def method(**constants):
    torch.manual_seed(0)
    small = {"hidden_dim": 16, "projection_dim": 8, "queue_size": 40, "momentum": 0.9}
    return MoCo(SmallResNet(1, 8, (4, 8, 16)), **small | constants)


def images(n, seed=0):
    return torch.randn(n, 1, 8, 8, generator=seeded(seed))


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=seeded(seed), dtype=torch.float64), dim=1)


def slow_info_nce(queries, keys, queue, temperature):
    """Equation 1 of arXiv:1911.05722, one query at a time."""
    losses = []
    for query, key in zip(queries, keys, strict=True):
        own = math.exp(query @ key / temperature)
        losses.append(-math.log(own / (own + sum(math.exp(query @ other / temperature) for other in queue))))
    return np.mean(losses)


def test_loss_is_the_slow_loop():
    queries, keys, queue = unit(6, 5), unit(6, 5, seed=1), unit(11, 5, seed=2)
    loss = info_nce_loss(queries, keys, queue, 0.3).item()
    assert loss == pytest.approx(slow_info_nce(queries.numpy(), keys.numpy(), queue.numpy(), 0.3), abs=1e-12)


def test_loss_is_lightlys_with_its_memory_bank():
    queries, keys, queue = unit(6, 5).float(), unit(6, 5, seed=1).float(), unit(11, 5, seed=2).float()
    theirs = NTXentLoss(temperature=0.3, memory_bank_size=(11, 5))
    theirs.memory_bank.bank = queue
    assert info_nce_loss(queries, keys, queue, 0.3).item() == pytest.approx(theirs(queries, keys).item(), abs=1e-5)


@pytest.mark.parametrize("size", [3, 20])
def test_loss_of_equal_embeddings_is_the_log_of_one_more_than_the_queue(size):
    ones = F.normalize(torch.ones(1, 4, dtype=torch.float64), dim=1)
    loss = info_nce_loss(ones.expand(5, -1), ones.expand(5, -1), ones.expand(size, -1), 0.2)
    assert loss.item() == pytest.approx(math.log(size + 1), abs=1e-12)


def test_the_loss_is_of_each_view_against_the_key_of_the_other_and_of_the_queue_before_the_step():
    moco, batch = method(), images(8)
    before = moco.queue.clone()
    queries = F.normalize(moco.projector(moco.encoder(batch)), dim=1)
    keys = F.normalize(moco.key_network(batch), dim=1)
    expected = info_nce_loss(queries, torch.cat([keys[4:], keys[:4]]), before, moco.temperature)
    assert moco(batch).item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_two_views_may_change_places():
    moco, batch = method(), images(8)
    assert moco(batch).item() == pytest.approx(moco(batch.roll(4, 0)).item(), abs=1e-5)


def test_the_queue_holds_the_last_keys_in_their_order():
    moco, given = method(queue_size=20), []
    for step in range(5):
        moco(images(6, step))
        given.append(moco.new_keys.clone())
        moco.after_step(step / 5)
    oldest = int(moco.oldest)
    assert oldest == 30 % 20
    in_order = torch.cat([moco.queue[oldest:], moco.queue[:oldest]])
    assert torch.equal(in_order, torch.cat(given)[-20:])


def test_the_queue_is_saved_with_the_weights():
    moco, other = method(), method()
    moco(images(6))
    moco.after_step(0.1)
    assert not torch.equal(moco.queue, other.queue)
    other.load_state_dict(moco.state_dict())
    assert torch.equal(moco.queue, other.queue) and moco.oldest == other.oldest == 6
    assert moco(images(6, 1)).item() == other(images(6, 1)).item()


def test_the_key_network_follows_at_its_momentum():
    moco = method(momentum=0.75)
    for parameter in moco.encoder.parameters():
        parameter.data += 1
    before = [p.clone() for p in moco.key_network[0].parameters()]
    moco(images(4))
    moco.after_step(0.5)
    for old, new, fast in zip(before, moco.key_network[0].parameters(), moco.encoder.parameters(), strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * fast)


def test_some_steps_lower_the_loss():
    moco, view = method(momentum=0.5), images(16)
    batch = torch.cat([view, images(16, 1)])  # unlike each other to begin with
    optimizer, losses, queue = torch.optim.AdamW(moco.parameters(), 0.003), [], moco.queue.clone()
    for _ in range(30):
        loss = moco(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        moco.after_step(0.5)
        moco.queue.copy_(queue)
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_the_gradient_reaches_the_encoder_and_not_the_keys():
    moco = method()
    moco(images(8)).backward()
    trained = [*moco.encoder.parameters(), *moco.projector.parameters()]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    assert all(p.grad is None and not p.requires_grad for p in moco.key_network.parameters())


@pytest.mark.parametrize(
    "constant, value, expected",
    [
        ("temperature", 0, "a number above 0"),
        ("temperature", math.nan, "a number above 0"),
        ("momentum", 1.5, "0 to 1"),
    ],
)
def test_a_constant_that_cannot_be_is_refused(constant, value, expected):
    with pytest.raises(ValueError, match=f"{constant}: received {value}, expected {expected}"):
        method(**{constant: value})


def test_a_queue_smaller_than_the_batch_is_refused():
    with pytest.raises(ValueError, match="queue_size: received 7, expected the 8 keys of a step or more"):
        method(queue_size=7)(images(8))
