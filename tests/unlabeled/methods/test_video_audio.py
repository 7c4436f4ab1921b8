import math

import pytest
import torch

from unlabeled.methods.video_audio import VideoAudio, correspondence_loss
from unlabeled.nn.small_networks import SmallResNet
from unlabeled.pairs.towers import Towers
from unlabeled.video.encoders import FrameNetwork


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def method(**constants):
    torch.manual_seed(0)
    frames, sound = (SmallResNet(1, 8, (4, 8, 16)) for _ in range(2))
    return VideoAudio(Towers(FrameNetwork(frames), sound, 16), **constants)


def batch(n=8):
    frames = torch.randn(n, 3, 1, 8, 8, generator=seeded())
    return frames, torch.randn(n, 1, 12, 10, generator=seeded(1))


def slow_loss(first, second, scale, bias):
    """The equation, one video and one sound at a time."""
    matched, others = [], []
    for i, video in enumerate(first):
        for j, sound in enumerate(second):
            answer = scale * float(video @ sound / (video.norm() * sound.norm())) + bias
            belongs = 1 / (1 + math.exp(-answer))
            (matched if i == j else others).append(-math.log(belongs if i == j else 1 - belongs))
    return (sum(matched) / len(matched) + sum(others) / len(others)) / 2


def numbers(*values):
    return (torch.tensor(value, dtype=torch.float64) for value in values)


def test_loss_is_the_slow_loop():
    first, second = torch.randn(2, 6, 5, generator=seeded(), dtype=torch.float64)
    loss = correspondence_loss(first, second, *numbers(3.0, -0.7)).item()
    assert loss == pytest.approx(slow_loss(first, second, 3.0, -0.7), abs=1e-12)


def test_loss_of_no_opinion_is_the_log_of_two():
    first = torch.eye(4, dtype=torch.float64)
    assert correspondence_loss(first, first.roll(2, 0), *numbers(0.0, 0.0)).item() == pytest.approx(math.log(2))


def test_videos_and_sounds_may_change_places():
    first, second = torch.randn(2, 6, 5, generator=seeded(), dtype=torch.float64)
    there, back = (correspondence_loss(a, b, *numbers(4.0, 0.1)).item() for a, b in ((first, second), (second, first)))
    assert there == pytest.approx(back, abs=1e-12)


def test_some_steps_lower_the_loss_and_the_gradient_reaches_both_towers():
    model, given = method(), batch()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    first = model(*given).item()
    for _ in range(30):
        optimizer.zero_grad()
        model(*given).backward()
        optimizer.step()
    assert model(*given).item() < first / 2
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_order_of_frames_does_not_count():
    model, (frames, spectrograms) = method().eval(), batch()
    assert model(frames, spectrograms).item() == pytest.approx(model(frames.flip(1), spectrograms).item(), abs=1e-6)


@pytest.mark.parametrize("scale", [0, -1, math.nan])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(ValueError, match=f"scale: received {scale}, expected a number above 0"):
        method(scale=scale)
