import json
import pickle
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torchvision import models

from unlabeled.encoders import load_encoder, read_encoder, untrained
from unlabeled.errors import DataError
from unlabeled.images.augment import normalise
from unlabeled.images.decode import decode
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.nn.small_networks import SmallResNet, build_encoder

HALF = {channels: Normalisation((0.5,) * channels, (0.25,) * channels) for channels in (1, 3, 4)}


def images_of(n, channels=1, size=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, channels, size, size), dtype=np.uint8)


def encoder_of(architecture="small_resnet", channels=1, size=8):
    """An encoder that has seen some batches, so that its BatchNorms have statistics of their own."""
    torch.manual_seed(0)
    encoder = ImageEncoder(architecture, channels, size, HALF[channels])
    for seed in range(3):
        encoder.network.train()(torch.from_numpy(images_of(8, channels, size, seed)) / 128 - 1)
    return encoder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a saved encoder, and the encoder."""
    folder, encoder = tmp_path_factory.mktemp("encoder"), encoder_of()
    encoder.save(folder / "encoder.safetensors")
    return folder, encoder


@pytest.fixture
def copied(saved, tmp_path):
    """A copy of the saved encoder's files, to be spoiled."""
    for file in saved[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path / "encoder.safetensors"


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [8, 32, 96])
@pytest.mark.parametrize("architecture", ["small_resnet", "resnet18"])
def test_a_network_makes_vectors_of_images_of_any_size_and_channels(architecture, size, channels):
    network = build_encoder(architecture, channels, size).eval()
    features = network(torch.rand(2, channels, size, size))
    assert features.shape == (2, network.feature_dim)
    assert features.isfinite().all()


@pytest.mark.parametrize("architecture, dim", [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048)])
def test_resnets_know_their_dimension(architecture, dim):
    network = build_encoder(architecture, 3, 16).eval()
    assert network(torch.rand(1, 3, 16, 16)).shape == (1, network.feature_dim) == (1, dim)


def test_the_small_resnet_is_as_wide_as_asked():
    network = SmallResNet(1, 8, (5, 7, 20))
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, network.feature_dim) == (2, 20)


def test_small_images_keep_their_resolution_in_the_stem():
    small, large = build_encoder("resnet18", 3, 63), build_encoder("resnet18", 3, 64)
    assert small.maxpool(small.conv1(torch.rand(1, 3, 63, 63))).shape == (1, 64, 63, 63)
    assert large.maxpool(large.conv1(torch.rand(1, 3, 64, 64))).shape == (1, 64, 16, 16)
    assert SmallResNet(1, 31)[0].stride == (1, 1) and SmallResNet(1, 32)[0].stride == (2, 2)


def test_a_saved_resnet_of_photos_is_torchvisions_own_without_its_classifier(tmp_path):
    encoder, theirs = encoder_of("resnet18", 3, 96), models.resnet18()
    encoder.save(tmp_path / "encoder.safetensors")
    weights = load_file(tmp_path / "encoder.safetensors")
    assert theirs.state_dict().keys() - weights.keys() == {"fc.weight", "fc.bias"}
    theirs.fc = nn.Identity()
    theirs.load_state_dict(weights, strict=True)
    images = images_of(4, 3, 96)
    batch = normalise(torch.from_numpy(images) / 255, *HALF[3].tensors())
    np.testing.assert_allclose(encoder.embed(images), theirs.eval()(batch).detach(), rtol=1e-4, atol=1e-5)


def test_a_saved_resnet_of_small_images_loads_into_torchvisions_with_a_small_stem(tmp_path):
    encoder, theirs = encoder_of("resnet18", 1, 8), models.resnet18()
    encoder.save(tmp_path / "encoder.safetensors")
    theirs.conv1, theirs.maxpool, theirs.fc = nn.Conv2d(1, 64, 3, 1, 1, bias=False), nn.Identity(), nn.Identity()
    theirs.load_state_dict(load_file(tmp_path / "encoder.safetensors"), strict=True)
    batch = normalise(torch.from_numpy(images_of(4)) / 255, *HALF[1].tensors())
    np.testing.assert_allclose(encoder.embed(images_of(4)), theirs.eval()(batch).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture, channels, size", [("small_resnet", 1, 8), ("resnet18", 3, 16)])
def test_a_loaded_encoder_gives_the_very_same_embeddings(tmp_path, architecture, channels, size):
    encoder, images = encoder_of(architecture, channels, size), images_of(20, channels, size)
    encoder.network.to(memory_format=torch.channels_last)  # as training leaves it
    encoder.save(tmp_path / "encoder.safetensors")
    loaded = load_encoder(tmp_path)
    assert np.array_equal(loaded.embed(images), encoder.embed(images))
    assert loaded.normalisation == encoder.normalisation and not loaded.network.training


@pytest.mark.parametrize("size, widths", [(8, (64, 128, 256)), (32, (48, 96, 192))])
def test_an_encoder_that_was_saved_before_its_widths_were_is_read(tmp_path, size, widths):
    network = build_encoder("small_resnet", 1, size, widths).to(memory_format=torch.channels_last)
    encoder, path = ImageEncoder("small_resnet", 1, size, HALF[1], network), tmp_path / "encoder.safetensors"
    encoder.save(path)
    spec = json.loads(path.with_suffix(".json").read_text())
    assert spec.pop("widths") == list(widths)
    path.with_suffix(".json").write_text(json.dumps(spec))
    np.testing.assert_array_equal(
        read_encoder(path).embed(images_of(4, size=size)), encoder.embed(images_of(4, size=size))
    )


def test_an_untrained_encoder_is_as_wide_as_the_trained(saved):
    encoder = ImageEncoder("small_resnet", 1, 8, HALF[1], SmallResNet(1, 8, (4, 5, 6)))
    assert untrained(encoder, seed=0).spec() == encoder.spec() != saved[1].spec()


def test_saving_twice_gives_the_same_bytes(saved, tmp_path):
    saved[1].save(tmp_path / "encoder.safetensors")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        file.name: file.read_bytes() for file in saved[0].iterdir()
    }


def test_embeddings_are_the_networks_outputs_for_normalised_pixels(saved):
    images = images_of(5)
    batch = torch.from_numpy((images / 255 - 0.5) / 0.25).float()
    features = saved[1].embed(images)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, saved[1].network.eval()(batch).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_embeddings_do_not_depend_on_the_batch_size(saved, batch_size):
    images = images_of(9)
    np.testing.assert_allclose(saved[1].embed(images, batch_size), saved[1].embed(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_embedding_changes_nothing_in_the_network(saved, training):
    network = saved[1].network.train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    saved[1].embed(images_of(5))
    assert network.training is training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_no_images_have_no_embeddings(saved):
    assert saved[1].embed(images_of(0)).shape == (0, saved[1].feature_dim)


@pytest.mark.parametrize("height, width", [(9, 30), (30, 9), (8, 20), (21, 21), (3, 5)])
def test_an_array_that_is_not_square_is_the_same_picture_as_its_file(saved, height, width):
    picture = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    of_file = saved[1].embed(decode(file.getvalue(), saved[1].image_size, 1).pixels[None])
    np.testing.assert_array_equal(saved[1].embed(picture[None, None]), of_file)


def test_images_of_another_size_are_resampled(saved):
    plain = np.full((2, 1, 1, 1), 100, np.uint8) * np.ones((1, 1, 13, 21), np.uint8)
    same = saved[1].embed(plain[:, :, :8, :8])
    np.testing.assert_allclose(saved[1].embed(plain), same, rtol=1e-3, atol=1e-5)
    enlarged = images_of(3).repeat(4, axis=2).repeat(4, axis=3)
    assert saved[1].embed(enlarged).shape == (3, saved[1].feature_dim)


def test_a_read_only_memory_map_is_embedded_without_a_warning(saved, tmp_path):
    np.save(tmp_path / "images.npy", images_of(5))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert np.array_equal(saved[1].embed(mapped), saved[1].embed(images_of(5)))


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 3, 8, 8), np.uint8),
        np.zeros((1, 8, 8), np.uint8),
        np.zeros((2, 8, 8, 1), np.uint8),
        np.zeros((2, 1, 0, 8), np.uint8),
        np.zeros((2, 1, 8, 0), np.uint8),
        np.zeros((1, 1, 1, 0)),
    ],
    ids=["channels", "one image", "channels last", "no height", "no width", "nothing"],
)
def test_an_array_of_another_shape_is_refused(saved, images):
    with pytest.raises(DataError, match=r"received images of \w+ with shape \(.*\), expected uint8 of \(N, 1, H, W\)"):
        saved[1].embed(images)


@pytest.mark.parametrize("kind", [np.int64, np.uint16, np.float32, np.float64])
def test_whole_numbers_of_other_types_are_the_same_images(saved, kind):
    assert np.array_equal(saved[1].embed(images_of(3).astype(kind)), saved[1].embed(images_of(3)))


@pytest.mark.parametrize(
    "value, message",
    [
        (0.5, "with fractions, from 0 to 0.5, .*multiply images of 0 to 1 by 255"),
        (128.6, "with fractions"),
        (1.0, "with fractions, from 0 to 1"),
        (np.nan, "with values from nan to nan"),
        (np.inf, "with values from 0 to inf"),
        (-1, "with values from -1 to 0, .*from 0 to 255"),
        (256, "with values from 0 to 256"),
        (True, "images of bool"),
        ("white", "images of <U5"),
    ],
)
def test_values_that_are_no_pixels_are_refused(saved, value, message):
    images = np.zeros((2, 1, 8, 8), np.asarray(value).dtype)
    images[0, 0, 0, 0] = value
    with pytest.raises(DataError, match=message):
        saved[1].embed(images)


def test_normalisation_is_float32_even_of_whole_numbers():
    mean, std = Normalisation((0, 0.5, 1), (1, 1, 1)).tensors()
    assert mean.dtype == std.dtype == torch.float32
    assert mean.tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-50])])
def test_missing_and_truncated_files_are_told(copied, suffix, spoil):
    spoil(copied.with_suffix(suffix))
    with pytest.raises(DataError, match=r"encoder.safetensors and its .json are not a saved encoder .*train it again"):
        read_encoder(copied)


@pytest.mark.parametrize("key, value", [("architecture", "resnet18"), ("channels", 3), ("architecture", "perceptron")])
def test_weights_of_another_network_are_refused(copied, key, value):
    spec = json.loads(copied.with_suffix(".json").read_text())
    copied.with_suffix(".json").write_text(json.dumps(spec | {key: value}))
    with pytest.raises(DataError, match="not a saved encoder"):
        read_encoder(copied)


def test_no_pickle_is_ever_opened(copied, tmp_path):
    copied.write_bytes(pickle.dumps(tmp_path))
    with pytest.raises(DataError, match="not a saved encoder"):
        read_encoder(copied)
    torch.save(encoder_of().network.state_dict(), copied)
    with pytest.raises(DataError, match="not a saved encoder"):
        read_encoder(copied)


def test_a_failed_save_leaves_the_old_encoder(copied):
    before, broken = copied.read_bytes(), encoder_of()
    broken.network[0].weight = nn.Parameter(broken.network[0].weight.data.to_sparse())  # safetensors cannot hold it
    with pytest.raises((ValueError, RuntimeError)):
        broken.save(copied)
    assert copied.read_bytes() == before
    assert len(list(copied.parent.iterdir())) == 2


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("image_size", 10**9, "image_size: received 1000000000, expected a whole number from 1 to 4096"),
        ("channels", 10**9, "channels: received 1000000000, expected a whole number from 1 to 1024"),
        ("image_size", "8", "image_size: received '8'"),
        ("mean", [float("nan")], "received mean [nan]"),
        ("mean", [0.5, 0.5], "expected"),
        ("std", [0.0], "std above 0"),
        ("widths", [10**6] * 3, "a network of more than the"),
        ("architecture", "linear", "not a saved encoder"),
    ],
)
def test_a_json_that_no_encoder_has_is_a_sentence_that_names_the_file(copied, key, value, words):
    spec = json.loads(copied.with_suffix(".json").read_text())
    copied.with_suffix(".json").write_text(json.dumps(spec | {key: value}))
    with pytest.raises(DataError, match=re.escape(words)) as refused:
        read_encoder(copied)
    assert str(copied) in str(refused.value)


def test_a_large_linear_network_takes_no_memory_before_its_weights_are_known(tmp_path):
    path = tmp_path / "encoder.safetensors"
    ImageEncoder("linear", 1, 8, Normalisation((0.5,), (0.2,))).save(path)
    spec = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(spec | {"image_size": 4096}))
    with pytest.raises(DataError, match=r"a network of more than the [\d,]+ numbers that its weights may have"):
        read_encoder(path)


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "null", '{"a": ' * 50_000, ""])
def test_a_json_of_another_shape_is_refused(copied, content):
    copied.with_suffix(".json").write_text(content)
    with pytest.raises(DataError, match="not a saved encoder"):
        read_encoder(copied)


@pytest.mark.parametrize("resize", ["pad", "squash"])
def test_an_encoder_resizes_arrays_and_files_as_it_was_trained(saved, tmp_path, resize):
    trained = ImageEncoder("small_resnet", 1, 8, replace(HALF[1], resize=resize), saved[1].network)
    trained.save(tmp_path / "encoder.safetensors")
    encoder, pixels = load_encoder(tmp_path), images_of(1, size=40)[0, 0, :20]
    assert encoder.normalisation.resize == encoder.pixel_format.resize == resize
    expected = saved[1].embed(decode(pixels, 8, 1, resize=resize).pixels[None])
    np.testing.assert_allclose(encoder.embed(pixels[None, None]), expected, atol=1e-6)
    assert not np.allclose(expected, saved[1].embed(pixels[None, None]))


def test_an_encoder_saved_before_there_was_a_choice_crops(saved):
    written = json.loads((saved[0] / "encoder.json").read_text())
    assert "resize" not in written  # as in files of earlier releases, so that their digest still holds
    assert load_encoder(saved[0]).normalisation.resize == "crop"


def test_a_json_with_an_unknown_way_to_resize_is_refused(copied):
    spec = json.loads(copied.with_suffix(".json").read_text()) | {"resize": "stretch"}
    copied.with_suffix(".json").write_text(json.dumps(spec))
    with pytest.raises(DataError, match="resize: received 'stretch', expected crop, pad, squash"):
        read_encoder(copied)
