import pytest
import torch

from unlabeled.nn.heads import Decoder, deep_mlp, mlp


@pytest.mark.parametrize("size", [4, 5, 8, 28, 32, 97])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_decoder_makes_images_of_any_size(size, channels):
    assert Decoder(7, channels, size, 4)(torch.randn(2, 7)).shape == (2, channels, size, size)


def test_a_decoder_can_make_any_image():
    torch.manual_seed(0)
    decoder, codes, images = Decoder(4, 1, 8, 8), torch.eye(4), torch.randn(4, 1, 8, 8)
    optimizer = torch.optim.AdamW(decoder.parameters(), 0.02)
    for _ in range(200):
        loss = (decoder(codes) - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_projectors_have_the_widths_asked_for():
    assert mlp(5, 7, 3)(torch.randn(4, 5)).shape == (4, 3)
    assert deep_mlp(5, 7)(torch.randn(4, 5)).shape == (4, 7)
