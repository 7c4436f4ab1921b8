import math

import pytest
import torch

from unlabeled.methods.clip import CLIP, contrastive_loss
from unlabeled.nn.small_networks import SmallResNet
from unlabeled.nn.transformer import Transformer
from unlabeled.pairs.captions import Group
from unlabeled.pairs.towers import Towers


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def method(**constants):
    torch.manual_seed(0)
    text = Transformer("tiny_transformer", 40, 8, causal=True)
    return CLIP(Towers(SmallResNet(1, 8, (4, 8, 16)), text, 16), **constants)


def batch():
    """Six images, and captions of three and of five tokens that alternate."""
    tokens = torch.randint(5, 40, (3, 8), generator=seeded())
    groups = Group(torch.tensor([0, 2, 4]), tokens[:, :3]), Group(torch.tensor([1, 3, 5]), tokens[:, 3:])
    return torch.randn(6, 1, 8, 8, generator=seeded()), *groups


def slow_loss(first, second, scale):
    """Figure 3, one pair at a time, from either side."""
    first, second = ([row / row.norm() for row in rows] for rows in (first, second))
    total = 0
    for i in range(len(first)):
        own = math.exp(scale * (first[i] @ second[i]))
        total -= math.log(own / sum(math.exp(scale * (first[i] @ other)) for other in second))
        total -= math.log(own / sum(math.exp(scale * (other @ second[i])) for other in first))
    return total / (2 * len(first))


def test_loss_is_the_slow_loop():
    first, second = torch.randn(2, 7, 5, generator=seeded(), dtype=torch.float64)
    loss = contrastive_loss(first, second, torch.tensor(4.0, dtype=torch.float64))
    assert loss.item() == pytest.approx(slow_loss(first, second, 4.0), abs=1e-12)


@pytest.mark.parametrize("b", [2, 7])
def test_loss_of_equal_embeddings_is_the_log_of_how_many_there_are(b):
    ones = torch.ones(b, 3, dtype=torch.float64)
    assert contrastive_loss(ones, ones, torch.tensor(9.0)).item() == pytest.approx(math.log(b), abs=1e-12)


def test_images_and_texts_may_change_places():
    first, second = torch.randn(2, 6, 5, generator=seeded(), dtype=torch.float64)
    scale = torch.tensor(3.0)
    assert contrastive_loss(first, second, scale).item() == pytest.approx(contrastive_loss(second, first, scale).item())


def test_a_caption_is_the_same_in_any_group():
    clip, (images, short, long) = method().eval(), batch()
    assert clip(images, short, long).item() == pytest.approx(clip(images, long, short).item(), abs=1e-6)


def test_some_steps_lower_the_loss_and_the_gradient_reaches_both_towers():
    clip, given = method(), batch()
    optimizer = torch.optim.AdamW(clip.parameters(), 3e-3)
    first = clip(*given).item()
    for _ in range(30):
        optimizer.zero_grad()
        clip(*given).backward()
        optimizer.step()
    assert clip(*given).item() < first / 2
    unused = {name for name, parameter in clip.named_parameters() if parameter.grad is None}
    assert unused == {"encoder.second.bias"}  # of the vocabulary's logits, which captions need not


def test_the_temperature_is_learned_and_stays_above_a_hundredth():
    clip = method(temperature=0.02)
    assert clip.gauges()["temperature"] == pytest.approx(0.02) and clip.log_scale.requires_grad
    with torch.no_grad():
        clip.log_scale += 9
    clip.after_step(0.5)
    assert clip.gauges()["temperature"] == pytest.approx(0.01)


@pytest.mark.parametrize("temperature", [0, -1, math.nan])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ValueError, match=f"temperature: received {temperature}, expected a number above 0"):
        method(temperature=temperature)
