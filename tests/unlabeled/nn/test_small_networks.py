import pytest
import torch
from torchvision import models

from unlabeled.nn.small_networks import LinearNetwork, PatchNetwork, build_encoder
from unlabeled.nn.torchvision_networks import VITS, patch_size

MAPPED = ["small_resnet", "resnet18", "resnet50", "small_vit"]


@pytest.mark.parametrize("architecture", [*MAPPED, "linear", "patches", "vit_tiny"])
@pytest.mark.parametrize("channels, size", [(1, 8), (3, 32)])
def test_a_network_knows_what_it_eats_and_gives(architecture, channels, size):
    network = build_encoder(architecture, channels, size).eval()
    assert network(torch.randn(2, channels, size, size)).shape == (2, network.feature_dim)
    assert (network.channels, network.image_size) == (channels, size)


@pytest.mark.parametrize("architecture", MAPPED)
def test_features_are_the_mean_of_the_feature_map(architecture):
    network, images = build_encoder(architecture, 3, 32).eval(), torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(network.feature_map(images).mean((2, 3)), network(images))


@pytest.mark.parametrize("architecture", MAPPED)
def test_images_of_another_size_are_welcome(architecture):
    network = build_encoder(architecture, 3, 32).eval()
    assert network(torch.randn(2, 3, 24, 24)).shape == (2, network.feature_dim)


@pytest.mark.parametrize(
    "image_size, patch", [(8, 2), (16, 2), (28, 4), (32, 4), (64, 8), (96, 12), (224, 16), (9, 3), (10, 2)]
)
def test_patches_are_about_an_eighth_of_the_image(image_size, patch):
    assert patch_size(image_size) == patch


@pytest.mark.parametrize("image_size", [97, 23])
def test_an_image_that_no_patch_divides_is_refused(image_size):
    with pytest.raises(ValueError, match=f"encoder: a ViT needs patches .* none divides images of {image_size}"):
        build_encoder("small_vit", 3, image_size)


def test_a_vit_is_torchvisions_with_all_its_keys():
    ours, theirs = build_encoder("vit_base", 3, 224), models.vit_b_16()
    assert theirs.state_dict().keys() - ours.state_dict().keys() == {"heads.head.weight", "heads.head.bias"}
    theirs.heads = torch.nn.Identity()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert list(VITS) == ["small_vit", "vit_tiny", "vit_small", "vit_base"]


def test_the_tokens_of_a_vit_are_torchvisions():
    network, images = build_encoder("small_vit", 3, 32).eval(), torch.randn(2, 3, 32, 32)
    first = network.class_token.expand(2, -1, -1)
    expected = network.encoder(torch.cat([first, network._process_input(images)], 1))
    torch.testing.assert_close(network.tokens(images), expected[:, 1:])


def test_tokens_of_some_patches_are_those_of_a_network_that_sees_them_alone():
    network, images = build_encoder("small_vit", 1, 8).eval(), torch.randn(1, 1, 8, 8)
    kept = torch.tensor([[3, 0, 7]])
    changed = images.clone()
    changed[..., 4:, :] += 9  # the lower half: patches 8 to 15
    torch.testing.assert_close(network.tokens(images, kept), network.tokens(changed, kept))
    assert network.tokens(images, kept).shape == (1, 3, network.feature_dim)


def test_positions_of_the_size_it_was_made_for_are_the_table_itself():
    network = build_encoder("small_vit", 1, 8)
    assert network._positions(4, 4) is network.encoder.pos_embedding
    assert network._positions(6, 6).shape == (1, 37, network.feature_dim)


def test_a_linear_network_is_linear():
    network, (a, b) = LinearNetwork(1, 8), torch.randn(2, 5, 1, 8, 8)
    zero = network(torch.zeros(1, 1, 8, 8))
    torch.testing.assert_close(network(a + b) - zero, network(a) + network(b) - 2 * zero, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [4, 8, 32, 96])
def test_a_network_of_patches_eats_images_of_any_size(size):
    network = PatchNetwork(3, size, centroids=10)
    features = network(torch.randn(2, 3, size, size))
    assert features.shape == (2, 40) and (features >= 0).all()
