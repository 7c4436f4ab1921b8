import numpy as np
import pytest
import torch
from torch import nn

from unlabeled.evaluation.probe import LinearProbe
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.images.saliency import smooth_gradients

GREY = Normalisation((0.5,), (0.25,))


class LeftHalf(nn.Module):
    """Reads the left half of an image and nothing else."""

    feature_dim, channels, image_size = 3, 1, 8

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(32, 3)

    def forward(self, batch):
        return self.linear(batch[..., :4].flatten(1)).square()


def images_of(n=4, side=8, channels=1):
    return np.random.default_rng(0).integers(0, 256, (n, channels, side, side), dtype=np.uint8)


def probe_of(dims, classes=3, seed=0):
    weight = np.random.default_rng(seed).normal(size=(classes, dims)).astype(np.float32)
    return LinearProbe(weight, np.zeros(classes, np.float32), np.arange(classes) + 5, 1.0)


def encoder_of(channels=1, size=8):
    torch.manual_seed(0)
    return ImageEncoder("small_resnet", channels, size, Normalisation((0.5,) * channels, (0.25,) * channels))


def left_half():
    torch.manual_seed(0)
    return ImageEncoder("of a test", 1, 8, GREY, LeftHalf())


@pytest.mark.parametrize("channels, size, given", [(1, 8, 8), (3, 16, 16), (3, 16, 40)])
@pytest.mark.parametrize("probed", [True, False], ids=["of a class", "of the features"])
def test_a_map_has_the_encoders_size_and_ends_at_one(channels, size, given, probed):
    encoder = encoder_of(channels, size)
    probe = probe_of(encoder.feature_dim) if probed else None
    maps = smooth_gradients(encoder, images_of(4, given, channels), probe)
    assert maps.shape == (4, size, size) and maps.dtype == np.float32
    assert maps.min() >= 0 and np.allclose(maps.max((1, 2)), 1)


@pytest.mark.parametrize("probe", [probe_of(3), None], ids=["of a class", "of the features"])
def test_what_an_encoder_does_not_read_moves_nothing(probe):
    maps = smooth_gradients(left_half(), images_of(), probe)
    assert (maps[:, :, 4:] == 0).all() and (maps[:, :, :4] > 0).mean() > 0.9


def test_the_map_of_a_linear_network_is_its_weight():
    encoder = ImageEncoder("of a test", 1, 8, GREY, nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))
    encoder.network.feature_dim = 2
    probe = LinearProbe(np.float32([[1, 0], [0, 0]]), np.float32([1e6, 0]), np.arange(2), 1.0)  # always the first
    weight = encoder.network[1].weight[0].detach().abs().reshape(8, 8).numpy()
    for each in smooth_gradients(encoder, images_of(), probe):
        np.testing.assert_allclose(each, weight / weight.max(), atol=1e-5)


def test_the_seed_decides_the_noise_and_nothing_else_does():
    encoder, probe = encoder_of(), probe_of(encoder_of().feature_dim)
    first, again, other = (smooth_gradients(encoder, images_of(), probe, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_it_leaves_the_random_state_the_weights_and_the_images_as_they_were():
    encoder, images, state = encoder_of(), images_of(), torch.get_rng_state()
    before = {name: each.clone() for name, each in encoder.network.state_dict().items()}
    smooth_gradients(encoder, images, probe_of(encoder.feature_dim))
    assert torch.equal(torch.get_rng_state(), state) and np.array_equal(images, images_of())
    assert all(torch.equal(each, before[name]) for name, each in encoder.network.state_dict().items())
    assert all(each.grad is None for each in encoder.network.parameters())


def test_every_channel_counts():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2))
    network.feature_dim, network[1].weight.data[:, :128] = 2, 0  # it sees blue alone
    encoder = ImageEncoder("of a test", 3, 8, Normalisation((0.5,) * 3, (0.25,) * 3), network)
    assert np.allclose(smooth_gradients(encoder, images_of(channels=3), probe_of(2)).max((1, 2)), 1)


@pytest.mark.parametrize("training", [True, False])
def test_it_leaves_the_network_in_its_mode(training):
    encoder = encoder_of()
    encoder.network.train(training)
    smooth_gradients(encoder, images_of(), None)
    assert all(each.training is training for each in encoder.network.modules())


def test_an_image_without_contrast_and_a_network_that_is_blind_have_a_map():
    encoder, flat = left_half(), np.full((2, 1, 8, 8), 100, np.uint8)
    assert np.isfinite(smooth_gradients(encoder, flat, None)).all()
    encoder.network.linear.weight.data.zero_()
    assert (smooth_gradients(encoder, images_of(), None) == 0).all()
