"""From equal weights and views, in float64, our methods take the same steps as lightly's modules."""

import pytest
import torch
from lightly.models.utils import get_weight_decay_parameters
from lightly.utils.scheduler import CosineWarmupScheduler

from tests.unlabeled.methods.peers import PAIRS
from unlabeled.config import Pretraining
from unlabeled.training.batches import step_seed
from unlabeled.training.loop import pretrain
from unlabeled.training.optimizers import build_optimizer

STEPS, IMAGES = 20, 6
TOLERANCE = {"rtol": 1e-9, "atol": 1e-10}
CONFIG = Pretraining(
    optimizer="sgd", learning_rate=0.01, momentum=0.9, weight_decay=0.01, epochs=4, warmup_epochs=1, precision="fp32"
)


class Views:
    """Views of random images, a batch a step, in float64."""

    unit, device, steps_per_epoch, batch_size = "images", torch.device("cpu"), 5, IMAGES

    def __init__(self, count):
        self.count = count

    def batch(self, step):
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(1, IMAGES, 3, 8, 8, generator=generator, dtype=torch.float64)
        noise = torch.randn(self.count, IMAGES, 3, 8, 8, generator=generator, dtype=torch.float64)
        return ((images + 0.3 * noise).flatten(0, 1),)


def tensors(module):
    return dict(module.named_parameters()) | dict(module.named_buffers())


def matched(ours, peer):
    """Our parameters and buffers, each with its counterpart; ones without are an error unless the peer lists them."""
    theirs, pairs = tensors(peer), {}
    for name, tensor in tensors(ours).items():
        if name not in peer.only_ours:
            [begin] = [begin for begin in peer.names if name.startswith(begin)]
            pairs[name] = tensor, theirs.pop(peer.names[begin] + name.removeprefix(begin))
    assert theirs.keys() == peer.only_theirs.keys()
    return pairs


def unmatched(ours, peer):
    """The tensors of one side only, each with the value that it should keep."""
    sides = (tensors(ours), peer.only_ours), (tensors(peer), peer.only_theirs)
    return [(side[name], torch.full_like(side[name], value)) for side, only in sides for name, value in only.items()]


@torch.no_grad()
def build_equal(name):
    """A method and its peer with the same random weights, and with the documented factor between their losses.

    Slow networks start apart from those that they follow.
    """
    torch.manual_seed(0)
    ours, peer = (side.double() for side in PAIRS[name]())
    for parameter in ours.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    for tensor, value in unmatched(ours, peer):
        tensor.copy_(value)
    for our_tensor, their_tensor in matched(ours, peer).values():
        their_tensor.copy_(our_tensor.view_as(their_tensor))
    peer.register_forward_hook(lambda peer, _, loss: peer.offset + peer.scale * loss)
    return ours, peer


def check_equal(ours, peer):
    for name, (our_tensor, their_tensor) in matched(ours, peer).items():
        check_close(name, our_tensor.view_as(their_tensor), their_tensor)
        if our_tensor.grad is not None or their_tensor.grad is not None:
            check_close(f"gradient of {name}", our_tensor.grad, their_tensor.grad)
    for tensor, value in unmatched(ours, peer):
        check_close("a tensor that one side has", tensor, value)


def check_close(name, actual, expected):
    torch.testing.assert_close(actual, expected, **TOLERANCE, msg=lambda message: f"{name}: {message}")


def plain_sgd(peer):
    """torch's SGD over the groups that lightly decays and does not decay."""
    decayed, others = get_weight_decay_parameters([peer])
    groups = [{"params": decayed, "weight_decay": CONFIG.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, CONFIG.learning_rate, CONFIG.momentum, foreach=False, fused=False)


def loss_of(method, batch, seed):
    """The loss, after its backward pass; random draws are those of the seed."""
    torch.manual_seed(seed)
    loss = method(batch)
    method.zero_grad()
    loss.backward()
    return loss.item()


@pytest.mark.parametrize("name", PAIRS)
def test_loss_gradient_update_average_and_statistics_are_lightlys_at_each_step(name):
    ours, peer = build_equal(name)
    start = {each: tensor.clone() for each, tensor in tensors(ours).items()}
    optimizer, reference, views = build_optimizer(ours, CONFIG), plain_sgd(peer), Views(ours.views)
    for step in range(STEPS):
        (batch,) = views.batch(step)
        assert loss_of(ours, batch, step) == pytest.approx(loss_of(peer, batch, step), rel=1e-9)
        optimizer.step(), reference.step()
        ours.after_step((step + 1) / STEPS), peer.after_step(step + 1, STEPS)
        check_equal(ours, peer)
    still = {each for each, tensor in tensors(ours).items() if torch.equal(tensor, start[each])}
    assert still <= peer.only_ours.keys()


@pytest.mark.parametrize("name", PAIRS)
def test_a_training_ends_with_the_weights_of_lightlys_modules_and_schedule(name):
    ours, peer = build_equal(name)
    views = Views(ours.views)
    pretrain(ours, views, CONFIG)
    reference = plain_sgd(peer)
    schedule = CosineWarmupScheduler(reference, warmup_epochs=5, max_epochs=STEPS + 1, end_value=0.0)
    for step in range(STEPS):
        loss_of(peer, *views.batch(step), step_seed(CONFIG.seed, 2, step))
        reference.step(), schedule.step(), peer.after_step(step + 1, STEPS)
    reference.zero_grad()
    check_equal(ours, peer)


def test_byol_at_a_quarter_of_the_rate_and_four_times_the_decay_takes_the_steps_of_lightlys_own_loss():
    ours, peer = build_equal("byol")
    peer.offset, peer.scale = 0.0, 1.0
    changed = {"learning_rate": CONFIG.learning_rate / 4, "weight_decay": 4 * CONFIG.weight_decay}
    optimizer, reference, views = build_optimizer(ours, CONFIG.model_copy(update=changed)), plain_sgd(peer), Views(2)
    for step in range(STEPS):
        (batch,) = views.batch(step)
        loss_of(ours, batch, step), loss_of(peer, batch, step)
        optimizer.step(), reference.step()
        ours.after_step((step + 1) / STEPS), peer.after_step(step + 1, STEPS)
    optimizer.zero_grad(), reference.zero_grad()
    check_equal(ours, peer)


@pytest.mark.parametrize("side, error", [(0, ValueError), (1, AssertionError)])
def test_a_parameter_without_a_counterpart_is_an_error(side, error):
    pair = build_equal("byol")
    pair[side].register_parameter("more", torch.nn.Parameter(torch.zeros(1)))
    with pytest.raises(error):
        matched(*pair)
