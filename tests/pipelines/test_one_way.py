"""The same picture has the same answer by every way in: file, array, registered model, `embed`, and exported ONNX."""

import base64
import json
import subprocess
import sys

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps
from sklearn.datasets import load_digits

from unlabeled.encoders import load_encoder
from unlabeled.images.decode import decode

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of digits on canvases of many shapes and modes, and each as it is seen: grey, upright, uint8 (H, W)."""
    folder, seen = tmp_path_factory.mktemp("pictures"), {}
    digits = (load_digits().images * (255 / 16)).round().astype(np.uint8)
    shapes = {"square": (8, 8), "wide": (8, 31), "tall": (50, 16), "large": (90, 90), "tiny": (3, 5), "line": (1, 9)}
    for number, (name, (height, width)) in enumerate(shapes.items()):
        seen[name] = np.asarray(Image.fromarray(digits[number]).resize((width, height)))
        Image.fromarray(seen[name]).save(folder / f"{name}.png")
    Image.fromarray(digits[7]).convert("P").save(folder / "palette.png")
    Image.fromarray(digits[8]).convert("RGB").convert("RGBA").save(folder / "opaque.png")
    seen |= {"palette": digits[7], "opaque": digits[8]}
    turned = Image.fromarray(digits[9]).resize((24, 16))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / "turned.png", exif=exif)
    seen["turned"] = np.asarray(ImageOps.exif_transpose(Image.open(folder / "turned.png")))
    return folder, dict(sorted(seen.items()))


@pytest.fixture(scope="module")
def of_files(trained, pictures):
    """The embedding of each file, by the encoder that the run left."""
    encoder, (folder, seen) = load_encoder(trained.path / "data/06_models/byol"), pictures
    files = (decode((folder / f"{name}.png").read_bytes(), encoder.image_size, encoder.channels) for name in seen)
    return encoder.embed(np.stack([file.pixels for file in files]))


@pytest.fixture(scope="module")
def model(trained):
    mlflow.set_tracking_uri(f"sqlite:///{trained.path / 'mlflow.db'}")
    return mlflow.pyfunc.load_model("models:/unlabeled-digits@challenger")


def test_arrays(trained, pictures, of_files):
    encoder = load_encoder(trained.path / "data/06_models/byol")
    for array, expected in zip(pictures[1].values(), of_files, strict=True):
        np.testing.assert_allclose(encoder.embed(array[None, None])[0], expected, **CLOSE)


def test_arrays_and_files_by_the_registered_model(model, pictures, of_files):
    folder, seen = pictures
    for array, expected in zip(seen.values(), of_files, strict=True):
        np.testing.assert_allclose(model.predict(array[None, None])["embedding"][0], expected, **CLOSE)
    files = [base64.b64encode((folder / f"{name}.png").read_bytes()).decode() for name in seen]
    answer = model.predict(np.zeros((1, 1, 1, 1), np.uint8), params={"files": files})
    np.testing.assert_allclose(answer["embedding"], of_files, **CLOSE)


def test_a_folder_by_embed(registered, pictures, of_files):
    result = registered.kedro("--pipeline=embed", f"--params=embed.path={pictures[0]},embed.version=challenger")
    assert result.exit_code == 0, result.output
    table = pq.read_table(registered.path / "data/07_model_output/embeddings.parquet")
    assert table["path"].to_pylist() == [f"{name}.png" for name in pictures[1]]
    np.testing.assert_allclose(table["embedding"].to_pylist(), of_files, **CLOSE)


def test_files_by_the_exported_onnx(registered, pictures, of_files):
    result = registered.kedro("--pipeline=export", "--params=export.version=challenger")
    assert result.exit_code == 0, result.output
    script = registered.path / "data/07_model_output/export/use.py"
    files = [str(pictures[0] / f"{name}.png") for name in pictures[1]]
    used = subprocess.run([sys.executable, script, *files], capture_output=True, text=True, check=True)
    answers = [json.loads(line)["embedding"] for line in used.stdout.splitlines()]
    np.testing.assert_allclose(answers, of_files, **CLOSE)


@pytest.mark.parametrize("value", [0.5, 0.99, 1.0, float("nan"), -1, 256])
def test_the_registered_model_refuses_what_are_no_pixels(model, value):
    with pytest.raises(mlflow.exceptions.MlflowException, match=r"received images .* expected uint8 of \(N, 1, H, W\)"):
        model.predict(np.array([[[[value, 0]]]]))
