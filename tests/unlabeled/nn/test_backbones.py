import subprocess
import sys
from copy import deepcopy

import pytest
import timm
import torch
from timm.models import ResNet

from unlabeled.nn.backbones import build_backbone, usual_size
from unlabeled.nn.small_networks import build_encoder

FAMILIES = ["test_resnet", "test_convnext", "test_efficientnet", "test_vit", "swin_tiny_patch4_window7_224"]


@pytest.mark.parametrize("channels, size", [(3, 64), (1, 32)])
@pytest.mark.parametrize("name", [*FAMILIES, "mobilenetv3_small_050", "deit_tiny_distilled_patch16_224"])
def test_a_model_of_timm_turns_images_into_vectors(name, channels, size):
    network = build_encoder(name, channels, size).eval()
    assert network(torch.rand(2, channels, size, size)).shape == (2, network.feature_dim)
    assert (network.channels, network.image_size) == (channels, size)


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_have_timms_keys_and_load_strictly_into_timms_model(name):
    torch.manual_seed(0)
    network, images = build_encoder(name, 3, 224).eval(), torch.rand(1, 3, 224, 224)
    theirs = timm.create_model(name, num_classes=0, **({"img_size": 224} if "vit" in name else {})).eval()
    theirs.load_state_dict(network.state_dict(), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(theirs(images), network(images))


def test_weights_are_loaded_as_they_were_saved_also_within_another_module():
    first, second = (torch.nn.ModuleDict({"encoder": build_encoder("test_resnet", 3, 32)}) for _ in range(2))
    second.load_state_dict(first.state_dict(), strict=True)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert "encoder.fc.weight" not in first.state_dict() and "encoder.layer1.0.conv1.weight" in first.state_dict()


def test_missing_weights_are_missed():
    network = build_encoder("test_resnet", 3, 32)
    weights = network.state_dict()
    weights.pop("layer1.0.conv1.weight")
    with pytest.raises(RuntimeError, match="Missing key.*layer1.0.conv1.weight"):
        network.load_state_dict(weights)


def test_a_copy_is_independent():
    network = build_encoder("test_vit", 3, 32)
    copy = deepcopy(network)
    with torch.no_grad():
        next(network.parameters()).add_(1)
    assert not torch.equal(next(network.parameters()), next(copy.parameters()))


@pytest.mark.parametrize("name", ["resnet26", "resnet26d"])
def test_a_resnet_keeps_the_resolution_of_small_images_in_its_stem(name):
    small, large = (build_encoder(name, 3, size).model for size in (32, 64))
    assert isinstance(small, ResNet)
    assert small.maxpool(small.conv1(torch.rand(1, 3, 32, 32))).shape[-1] == 32
    assert large.maxpool(large.conv1(torch.rand(1, 3, 64, 64))).shape[-1] == 16


@pytest.mark.parametrize("name, side", [("test_resnet", 2), ("test_vit", 4), ("swin_tiny_patch4_window7_224", 2)])
def test_a_feature_map_has_a_place_for_each_part_of_the_image(name, side):
    network = build_encoder(name, 3, 64).eval()
    assert network.feature_map(torch.rand(2, 3, 64, 64)).shape == (2, network.feature_dim, side, side)


def test_the_mean_of_a_convolutional_feature_map_is_the_feature_vector():
    network, images = build_encoder("test_resnet", 3, 64).eval(), torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(network.feature_map(images).mean((2, 3)), network(images))


def test_all_tokens_of_a_vit_are_those_of_timm():
    network, images = build_encoder("test_vit", 3, 64).eval(), torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(network.tokens(images), network.model.forward_features(images)[:, 1:])


def test_a_vit_sees_only_the_patches_that_are_kept():
    network, images = build_encoder("test_vit", 3, 64).eval(), torch.rand(2, 3, 64, 64)
    kept = torch.tensor([[0, 5], [3, 10]])
    tokens = network.tokens(images, kept)
    hidden = images.clone()
    hidden[0, :, 32:, 32:] = 0  # patches 10, 11, 14 and 15
    assert tokens.shape == (2, 2, network.feature_dim)
    torch.testing.assert_close(network.tokens(hidden, kept), tokens)


def test_a_vit_takes_views_of_other_sizes_and_cuts_off_parts_of_a_patch():
    network, images = build_encoder("test_vit", 3, 64).eval(), torch.rand(2, 3, 41, 41)
    torch.testing.assert_close(network(images), network(images[..., :32, :32]))


def test_an_unknown_name_is_refused_with_the_closest_ones():
    with pytest.raises(ValueError, match="encoder: received 'restnet50', .*did you mean resnet50"):
        build_encoder("restnet50", 3, 32)


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18.a1_in1k", "local-dir:/tmp/model", "timm/resnet18"])
def test_no_name_makes_timm_read_a_configuration_from_elsewhere(name):
    with pytest.raises(ValueError, match="encoder: received .* the name of a model of timm"):
        build_backbone(name, 3, 32)


def test_an_unknown_tag_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match="encoder: timm has no weights 'imagenet' of test_vit: choose from test_vit.r160"
    ):
        build_backbone("test_vit.imagenet", 3, 32)


def test_images_that_patches_do_not_divide_are_refused():
    with pytest.raises(
        ValueError, match="encoder: test_vit needs patches of 16 pixels, which do not divide images of 100"
    ):
        build_backbone("test_vit", 3, 100)


def test_a_size_that_a_model_cannot_take_is_refused():
    with pytest.raises(
        ValueError, match="encoder: timm's maxvit_rmlp_nano_rw_256 cannot be built for 3 channels and 8 pixels"
    ):
        build_backbone("maxvit_rmlp_nano_rw_256", 3, 8)


def test_a_models_usual_size_is_timms():
    assert usual_size("test_vit") == 160 and usual_size("tf_efficientnet_lite0") == 224


def test_our_own_networks_do_not_import_timm():
    code = "import sys; from unlabeled.nn.small_networks import build_encoder; build_encoder('resnet18', 3, 32)"
    assert subprocess.run([sys.executable, "-c", f"{code}; sys.exit('timm' in sys.modules)"]).returncode == 0
