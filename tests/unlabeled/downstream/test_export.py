import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision import models

from unlabeled.downstream import export
from unlabeled.downstream.export import export_model, images_to_check, largest_difference, write_onnx
from unlabeled.downstream.model import LoadedModel
from unlabeled.encoders import load_encoder
from unlabeled.errors import DataError, UnlabeledError
from unlabeled.evaluation.probe import LinearProbe
from unlabeled.images.decode import decode
from unlabeled.images.encoder import ImageEncoder, Normalisation

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore:::(?!unlabeled)")  # of the exporter, about itself
CLASSES = ["cat", "dog", "owl"]


def model_of(architecture, channels=3, size=16, probe=True):
    torch.manual_seed(0)
    encoder = ImageEncoder(architecture, channels, size, Normalisation((0.4,) * channels, (0.3,) * channels))
    if not probe:
        return LoadedModel(encoder, name="m", version="1")
    weight = np.random.default_rng(0).normal(size=(3, encoder.feature_dim)).astype(np.float32) / 10
    probe = LinearProbe(weight, np.ones(3, np.float32), np.arange(3), 1.0)
    return LoadedModel(encoder, probe, CLASSES, "m", "1")


def images_of(model, count=5):
    shape = (count, model.encoder.channels, model.encoder.image_size, model.encoder.image_size)
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    model = model_of("small_resnet")
    return model, folder, export_model(model, images_of(model), folder)


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50", "small_vit", "linear", "patches"])
def test_the_onnx_file_of_every_kind_of_network_is_torch_up_to_rounding(tmp_path, architecture):
    model = model_of(architecture)
    write_onnx(model, tmp_path / "encoder.onnx")
    for count in (1, 2, 7):
        assert largest_difference(model, images_of(model, count), tmp_path / "encoder.onnx") < export.TOLERANCE


@pytest.mark.parametrize(
    "architecture", ["test_resnet", "test_convnext", "test_efficientnet", "test_vit", "swin_tiny_patch4_window7_224"]
)
def test_the_onnx_file_of_each_family_of_timm_is_torch_up_to_rounding(tmp_path, architecture):
    model = model_of(architecture, size=64)
    write_onnx(model, tmp_path / "encoder.onnx")
    for count in (1, 2, 7):
        assert largest_difference(model, images_of(model, count), tmp_path / "encoder.onnx") < export.TOLERANCE


@pytest.mark.parametrize("channels, size", [(1, 8), (3, 96)])
def test_images_of_any_size_and_channels(tmp_path, channels, size):
    model = model_of("small_resnet", channels, size, probe=False)
    write_onnx(model, tmp_path / "encoder.onnx")
    assert largest_difference(model, images_of(model), tmp_path / "encoder.onnx") < export.TOLERANCE


def test_the_files_are_all_there_and_said_to_be_near(exported):
    model, folder, difference = exported
    scripts = ["decode.py", "dicom.py", "heic.py", "undecodable.py", "use.py"]
    names = sorted([*scripts, "encoder.json", "encoder.onnx", "encoder.safetensors", "probe.safetensors"])
    assert sorted(path.name for path in folder.iterdir()) == names
    assert 0 <= difference < export.TOLERANCE
    spec = json.loads((folder / "encoder.json").read_text())
    assert spec["classes"] == CLASSES and spec["image_size"] == 16 and spec["channels"] == 3
    assert spec["mean"] == [0.4] * 3 and spec["std"] == [0.3] * 3 and (spec["model"], spec["version"]) == ("m", "1")


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_onnx_file_takes_any_number_of_images(exported, count):
    model, folder, _ = exported
    assert largest_difference(model, images_of(model, count), folder / "encoder.onnx") < export.TOLERANCE


def test_an_export_is_an_encoder_too(exported):
    model, folder, _ = exported
    np.testing.assert_allclose(load_encoder(folder).embed(images_of(model)), model.encoder.embed(images_of(model)))


@pytest.mark.parametrize("architecture, head", [("resnet18", "fc"), ("resnet50", "fc"), ("vit_base", "heads")])
def test_weights_have_torchvisions_keys(tmp_path, architecture, head):
    model = model_of(architecture, size=224 if "vit" in architecture else 64, probe=False)
    model.encoder.save(tmp_path / "encoder.safetensors")
    network = getattr(models, {"vit_base": "vit_b_16"}.get(architecture, architecture))()
    setattr(network, head, torch.nn.Identity())
    network.load_state_dict(load_file(tmp_path / "encoder.safetensors"), strict=True)


def test_the_script_uses_them_without_this_project(exported, tmp_path):
    model, folder, _ = exported
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(2).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", exif=exif)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    files = [str(tmp_path / "photo.jpg"), str(tmp_path / "grey.png")]
    banned = "import sys; sys.modules |= dict.fromkeys(['unlabeled', 'torch', 'pipelines', 'mlflow'])"
    script = f"{banned}; import runpy; sys.argv = sys.argv[1:]; sys.path.insert(0, sys.argv[0].rpartition('/')[0]); "
    command = [sys.executable, "-c", script + "runpy.run_path(sys.argv[0], run_name='__main__')", folder / "use.py"]
    result = subprocess.run([*command, *files], cwd=tmp_path, env={}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    images = np.stack([decode(Path(file).read_bytes(), 16, 3).pixels for file in files])
    embedding = model.encoder.embed(images)
    probability = model.probe.probabilities(embedding)
    assert [answer["path"] for answer in answers] == files
    np.testing.assert_allclose([answer["embedding"] for answer in answers], embedding, atol=1e-4)
    np.testing.assert_allclose([answer["probability"] for answer in answers], probability, atol=1e-4)
    assert [answer["class"] for answer in answers] == [CLASSES[row] for row in probability.argmax(1)]


def test_files_that_are_not_torch_are_not_left(tmp_path, monkeypatch):
    model = model_of("linear")
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(UnlabeledError, match="differs from torch by .*: nothing was exported"):
        export_model(model, images_of(model), tmp_path / "export")
    assert not (tmp_path / "export").exists()


def test_an_export_leaves_nothing_of_an_earlier_one(tmp_path):
    for probe in (True, False):
        model = model_of("linear", probe=probe)
        export_model(model, images_of(model), tmp_path)
        assert (tmp_path / "probe.safetensors").exists() is probe


def test_it_is_checked_on_ingested_images_or_on_those_that_are_given(tmp_path):
    encoder = model_of("linear").encoder
    with pytest.raises(DataError, match="there are no ingested images to check the files on"):
        images_to_check(encoder, tmp_path / "images.npy", None)
    ingested = np.random.default_rng(0).integers(0, 256, (1000, 1, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "images.npy", ingested)
    assert images_to_check(encoder, tmp_path / "images.npy", None).shape[1:] == (3, 16, 16)
    assert len(images_to_check(encoder, tmp_path / "images.npy", None)) <= export.MAX_CHECKED_IMAGES
    Image.new("RGB", (20, 30), "red").save(tmp_path / "red.png")
    for given in (tmp_path, tmp_path / "red.png"):
        images = images_to_check(encoder, tmp_path / "images.npy", given)
        assert images.shape == (1, 3, 16, 16) and (images[:, 0] > 250).all()
    (tmp_path / "empty").mkdir()
    for name in ("images.npy", "empty"):
        with pytest.raises(DataError, match="export.image: .* holds no image that can be read"):
            images_to_check(encoder, tmp_path / "images.npy", tmp_path / name)


@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
def test_the_script_resizes_images_as_the_encoder_does(tmp_path, resize):
    model = model_of("linear", probe=False)
    model.encoder.normalisation = replace(model.encoder.normalisation, resize=resize)
    export_model(model, images_of(model), tmp_path / "export")
    pixels = np.random.default_rng(2).integers(0, 256, (20, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "long.png")
    command = [sys.executable, tmp_path / "export/use.py", tmp_path / "long.png"]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    expected = model.encoder.embed(pixels.transpose(2, 0, 1)[None])[0]
    np.testing.assert_allclose(answer["embedding"], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(
        images_to_check(model.encoder, tmp_path / "none.npy", tmp_path / "long.png")[0],
        decode(pixels, 16, 3, resize=resize).pixels,
    )
