import json
import subprocess
import sys

import numpy as np
import pytest

from unlabeled.downstream.model import load_model
from unlabeled.encoders import Saved
from unlabeled.errors import DataError
from unlabeled.evaluation.probe import LinearProbe
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.text.encoder import TextEncoder


@pytest.fixture
def folder(tmp_path):
    encoder = ImageEncoder("small_resnet", 1, 8, Normalisation((0.5,), (0.2,)))
    encoder.save(tmp_path / "encoder.safetensors")
    weight = np.zeros((2, encoder.feature_dim), np.float32)
    LinearProbe(weight, np.zeros(2, np.float32), np.arange(2), 1.0).save(tmp_path / "probe.safetensors")
    (tmp_path / "classes.json").write_text(json.dumps(["cat", "dog"]))
    return tmp_path


def test_a_version_is_loaded(folder):
    assert load_model(folder, ImageEncoder).answer(np.zeros((1, 1, 8, 8), np.uint8))["probability"].shape == (1, 2)


@pytest.mark.parametrize("name", ["probe.safetensors", "classes.json"])
@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b'["one"]'])
def test_a_damaged_file_is_told_in_a_sentence(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"^{folder} is not a saved model \(.*\): register it again$"):
        load_model(folder, Saved)


def test_a_model_of_another_kind_of_data_is_refused(folder):
    with pytest.raises(DataError, match=r"is not a saved model \(a ImageEncoder, expected a TextEncoder\)"):
        load_model(folder, TextEncoder)


def test_without_a_probe_there_are_embeddings_alone(folder):
    (folder / "probe.safetensors").unlink()
    assert load_model(folder, Saved).answer(np.zeros((1, 1, 8, 8), np.uint8)).keys() == {"embedding"}


def test_a_model_is_loaded_by_what_is_installed_beside_a_served_one():
    """MLflow installs what the registration names, and neither this project nor what only its pipelines need."""
    banned = "import sys; sys.modules |= dict.fromkeys(['xxhash', 'kedro', 'mlflow', 'dvc', 'av', 'tokenizers'])"
    modules = "unlabeled.downstream.model, unlabeled.downstream.serve, unlabeled.images.encoder"
    result = subprocess.run([sys.executable, "-c", f"{banned}; import {modules}"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
