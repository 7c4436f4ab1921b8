import math

import numpy as np
import pytest
import torch
from lightly.loss import DINOLoss

from unlabeled.methods.dino import DINO, dino_loss
from unlabeled.nn.small_networks import SmallResNet, build_encoder


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def method(encoder=None, **constants):
    torch.manual_seed(0)
    small = {"hidden_dim": 16, "bottleneck_dim": 8, "prototypes": 12, "momentum": 0.9}
    return DINO(encoder or SmallResNet(1, 16, (4, 8, 16)), **small | constants)


def images(n, seed=0):
    return torch.randn(n, 1, 16, 16, generator=seeded(seed))


def softmax(x):
    exponentials = np.exp(x - x.max())
    return exponentials / exponentials.sum()


def slow_dino(teacher, student, center, teacher_temperature, temperature):
    """Equations 1 to 3, one image and one pair of views at a time."""
    losses = []
    for t in range(len(teacher)):
        for s in range(len(student)):
            if s != t:
                for g, f in zip(teacher[t], student[s], strict=True):
                    target = softmax((g - center) / teacher_temperature)
                    losses.append(-(target * np.log(softmax(f / temperature))).sum())
    return np.mean(losses)


def outputs(views=6):
    teacher, student = torch.randn(2, 5, 7, generator=seeded()), torch.randn(views, 5, 7, generator=seeded(1))
    return teacher.double(), student.double(), torch.randn(7, generator=seeded(2)).double()


@pytest.mark.parametrize("views", [2, 6])
def test_loss_is_the_slow_loop(views):
    teacher, student, center = outputs(views)
    expected = slow_dino(teacher.numpy(), student.numpy(), center.numpy(), 0.3, 0.5)
    assert dino_loss(teacher, student, center, 0.3, 0.5).item() == pytest.approx(expected, abs=1e-6)


def test_loss_is_lightlys():
    teacher, student, center = outputs()
    theirs = DINOLoss(output_dim=7, student_temp=0.5, warmup_teacher_temp_epochs=0, teacher_temp=0.3).double()
    theirs.center.copy_(center.view(theirs.center.shape))
    expected = theirs(list(teacher), list(student), teacher_temp=0.3).item()
    assert dino_loss(teacher, student, center, 0.3, 0.5).item() == pytest.approx(expected, abs=1e-6)


def test_loss_of_equal_prototypes_is_the_log_of_their_number():
    teacher, student = torch.zeros(2, 3, 9), torch.zeros(4, 3, 9)
    assert dino_loss(teacher, student, torch.zeros(9), 0.04, 0.1).item() == pytest.approx(math.log(9), abs=1e-6)


def test_no_gradient_flows_into_the_teacher():
    teacher, student, center = outputs()
    teacher.requires_grad_(), student.requires_grad_()
    dino_loss(teacher, student, center, 0.3, 0.5).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_the_student_sees_all_views_and_the_teacher_the_large_ones(monkeypatch):
    dino, batch = method(small_views=3), images(8)
    seen = {}
    for name, network in {"student": dino.encoder, "teacher": dino.teacher[0]}.items():
        network.register_forward_pre_hook(lambda _, x, name=name: seen.setdefault(name, []).append(tuple(x[0].shape)))
    dino(batch)
    assert seen == {"student": [(8, 1, 16, 16), (24, 1, 10, 10)], "teacher": [(8, 1, 16, 16)]}


def test_small_views_are_of_the_image_whose_place_they_take():
    dino = method(small_views=2)
    batch = torch.arange(6.0)[:, None, None, None].expand(-1, 1, 16, 16).contiguous()
    small = dino.cut_small(batch).unflatten(0, (2, 6))
    torch.testing.assert_close(small.mean((2, 3, 4)), torch.arange(6.0).expand(2, -1))


def test_the_centre_moves_towards_the_teachers_mean():
    dino, batch = method(center_momentum=0.75), images(8)
    dino.center.copy_(torch.ones(12))
    expected = 0.75 + 0.25 * dino.teacher(batch).mean(0).detach()
    dino(batch)
    dino.after_step(0.5)
    torch.testing.assert_close(dino.center, expected)


def test_the_centre_is_saved_with_the_weights():
    dino, other = method(), method()
    dino(images(8))
    dino.after_step(0.5)
    other.load_state_dict(dino.state_dict())
    assert torch.equal(dino.center, other.center) and dino.center.abs().sum() > 0


@pytest.mark.parametrize("progress, momentum", [(0.0, 0.9), (0.5, 0.95), (1.0, 1.0)])
def test_the_teacher_follows_at_a_momentum_that_rises_to_one(progress, momentum):
    dino = method()
    for parameter in dino.encoder.parameters():
        parameter.data += 1
    before = [p.clone() for p in dino.teacher[0].parameters()]
    dino(images(8))
    dino.after_step(progress)
    for old, new, fast in zip(before, dino.teacher[0].parameters(), dino.encoder.parameters(), strict=True):
        torch.testing.assert_close(new, momentum * old + (1 - momentum) * fast)


def test_the_momentum_that_is_told_rises_to_one():
    dino, told = method(momentum=0.9), []
    dino(images(8))
    for progress in (0.0, 0.5, 1.0):
        dino.after_step(progress)
        told.append(dino.gauges()["momentum"])
    assert told == pytest.approx([0.9, 0.95, 1.0]) and method(momentum=0.9).gauges() == {"momentum": 0.9}


def test_a_head_has_batch_norm_where_it_is_asked_for():
    def norms(dino):
        return sum(isinstance(module, torch.nn.BatchNorm1d) for module in dino.head.modules())

    assert norms(method(batch_norm=True)) == 2 and norms(method()) == 0


@pytest.mark.parametrize(
    "architecture, constants", [("small_resnet", {}), ("small_vit", {}), ("small_resnet", {"batch_norm": True})]
)
def test_some_steps_lower_the_loss(architecture, constants):
    dino, view = method(build_encoder(architecture, 1, 16), small_views=1, **constants), images(6)
    batch = torch.cat([view, view + 0.1 * images(6, 1)])
    optimizer, losses = torch.optim.AdamW(dino.parameters(), 1e-3), []
    for _ in range(15):
        torch.manual_seed(0)
        loss = dino(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_gradient_reaches_the_student_and_not_the_teacher(batch_norm):
    dino = method(batch_norm=batch_norm)
    dino(images(8)).backward()
    trained = [*dino.encoder.parameters(), *dino.head.parameters()]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    assert all(p.grad is None and not p.requires_grad for p in dino.teacher.parameters())


@pytest.mark.parametrize(
    "constant, value, expected",
    [
        ("temperature", 0, "a number above 0"),
        ("teacher_temperature", -1, "a number above 0"),
        ("momentum", 2, "0 to 1"),
        ("center_momentum", -1, "0 to 1"),
        ("small_scale", (0.5, 0.2), "two shares above 0, the lower first"),
        ("small_views", -1, "0 to inf"),
    ],
)
def test_a_constant_that_cannot_be_is_refused(constant, value, expected):
    with pytest.raises(ValueError, match=f"{constant}: received .*, expected {expected}"):
        method(**{constant: value})
