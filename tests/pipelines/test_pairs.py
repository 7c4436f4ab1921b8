"""Methods of captioned images by the same stages: from pairs to a registered model and its page."""

import base64
import csv
import subprocess
import sys

import mlflow
import numpy as np
import pandas as pd
import pytest
from PIL import Image

QUICK = "pretraining.epochs=1,pretraining.warmup_epochs=0,evaluation.draws=2,evaluation.shots=[1],"
QUICK_TRAINING = "pretraining.epochs=1,clip.augmentation.views=2"
QUICK += "clip.augmentation.views=2,clip.ingestion.fraction=0.3,clip.ingestion.vocabulary=55"
CLEAN = """
import sys, mlflow, numpy, pandas
from pathlib import Path
model = mlflow.pyfunc.load_model(sys.argv[1])
given = pandas.DataFrame({"image": [Path(sys.argv[2]).read_bytes()], "text": ["a thin seven"]})
numpy.savez(sys.argv[3], **model.predict(given))
"""


@pytest.fixture(scope="module")
def trained_pairs(tmp_path_factory, make_project):
    project = make_project(tmp_path_factory.mktemp("pairs") / "project")
    result = project.kedro("--pipeline=clip", f"--params={QUICK}")
    assert result.exit_code == 0, result.output
    return project


@pytest.fixture
def version(trained_pairs):
    return trained_pairs.client().get_model_version_by_alias("unlabeled-captioned_digits", "champion")


def test_it_is_measured_and_has_a_page(trained_pairs, version):
    metrics = trained_pairs.json("data/08_reporting/clip/metrics.json")
    assert {"raw_input", "random_encoder", "pca"} == metrics["baselines"].keys() and metrics["linear_probe_accuracy"]
    assert {"text_to_image", "image_to_text", "baselines"} == metrics["retrieval"].keys()
    page = (trained_pairs.path / "data/08_reporting/clip/report.html").read_text()
    assert all(title in page for title in ("What it finds", "Nearest neighbours", "by words and pixels"))
    assert "An encoder of images and texts" in version.description and version.tags["method"] == "clip"
    (run,) = trained_pairs.runs()
    assert "retrieval.text_to_image.recall_at_10" in run.data.metrics and "validation_recall_at_1" in run.data.metrics


def test_the_model_answers_images_texts_and_both_in_a_clean_process(trained_pairs, version, photos, tmp_path):
    model = mlflow.pyfunc.load_model(version.source)
    file = photos / "07.png"
    both = model.predict(pd.DataFrame({"image": [file.read_bytes()], "text": ["a thin seven"]}))
    assert both.keys() == {"image_embedding", "text_embedding", "probability", "predicted", "similarity"}
    image = model.predict(pd.DataFrame({"image": [file.read_bytes()]}))
    text = model.predict(pd.DataFrame({"text": ["a thin seven"]}))
    assert np.array_equal(image["image_embedding"], both["image_embedding"]) and "similarity" not in image
    assert np.array_equal(text["text_embedding"], both["text_embedding"]) and text.keys() == {"text_embedding"}
    code = [sys.executable, "-c", CLEAN, version.source, str(file), str(tmp_path / "there.npz")]
    done = subprocess.run(code, cwd=tmp_path, env=trained_pairs.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    there = np.load(tmp_path / "there.npz")
    assert all(np.array_equal(there[name], value) for name, value in both.items())


def test_a_server_answers_images_and_texts(trained_pairs, version, photos, serve):
    file = photos / "07.png"
    image = base64.b64encode(file.read_bytes()).decode()
    with serve(trained_pairs, "unlabeled-captioned_digits") as server:
        status, said = server.answer(dataframe_records=[{"image": image, "text": "a thin seven"}])
        _, text = server.answer(dataframe_records=[{"text": "a thin seven"}])
        refused, why = server.answer(dataframe_records=[{"image": "?"}])
    here = mlflow.pyfunc.load_model(version.source)
    expected = here.predict(pd.DataFrame({"image": [file.read_bytes()], "text": ["a thin seven"]}))
    assert status == 200 and said["predictions"].keys() == expected.keys()
    assert said["predictions"].pop("predicted") == expected.pop("predicted").tolist()
    for name, value in expected.items():
        np.testing.assert_allclose(said["predictions"][name], value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(text["predictions"]["text_embedding"], expected["text_embedding"], atol=1e-5)
    assert refused == 400 and why["message"]


def test_the_tower_of_images_embeds_a_folder(trained_pairs, photos):
    given = f"embed.path={photos},embed.model_name=unlabeled-captioned_digits"
    result = trained_pairs.kedro("--pipeline=embed", f"--params={given}")
    assert result.exit_code == 0, result.output
    table = pd.read_parquet(trained_pairs.path / "data/07_model_output/embeddings.parquet")
    assert len(table) == 21 and len(table.embedding[0]) == 256


@pytest.mark.parametrize(
    "given, message",
    [
        ({"image": [b"no image"]}, "the image of row 0: "),
        ({"text": ["a seven", None]}, "row 1 has no text, but other rows have one"),
        ({"text": [None]}, "received no rows, expected the columns image, text or both"),
    ],
)
def test_what_it_cannot_answer_is_one_sentence(version, given, message):
    model = mlflow.pyfunc.load_model(version.source)
    with pytest.raises(mlflow.MlflowException, match=message):
        model.predict(pd.DataFrame(given))


def test_another_evaluation_goes_into_the_same_run_and_the_champion_stays(trained_pairs):
    runs = len(trained_pairs.runs())
    changed = f"--params={QUICK},clip.evaluation.prompts=['the digit {{}}']"
    result = trained_pairs.kedro("--pipeline=clip", "--tags=evaluation,registration,reporting", changed)
    assert result.exit_code == 0, result.output
    version = trained_pairs.client().get_model_version_by_alias("unlabeled-captioned_digits", "challenger")
    assert "measured again on today's data and protocol" in version.tags["decision"]
    assert len(trained_pairs.runs()) == runs


def test_captions_of_another_length_are_not_trained_on(trained_pairs):
    given = f"--params={QUICK},clip.augmentation.caption_length=8"
    result = trained_pairs.kedro("--pipeline=clip", "--from-nodes=clip.pretraining", given)
    assert result.exit_code == 1 and "run the stage augmentation again" in " ".join(result.output.split())


def test_pairs_without_labels_are_registered_all_the_same(project, photos, tmp_path):
    with (photos / "metadata.csv").open("w", newline="") as file:
        files = sorted(photos.glob("*.png"))
        rows = [[each.name, f"digit number {i} of a few, in grey"] for i, each in enumerate(files)]
        csv.writer(file).writerows([["file_name", "text"], *rows])
    given = f"clip.ingestion.source=pairs,clip.ingestion.path={photos},clip.ingestion.max_quarantined=0.2,"
    given += "pretraining.epochs=1,pretraining.warmup_epochs=0,pretraining.batch_size=4,clip.augmentation.views=2"
    result = project.kedro("--pipeline=clip", f"--params={given}")
    (photos / "metadata.csv").unlink()
    assert result.exit_code == 0, result.output
    assert "no labels to test with" in " ".join(result.output.split())
    assert project.client().get_model_version_by_alias(f"unlabeled-{photos.name}", "champion").aliases


def test_a_batch_that_was_chosen_is_refused_before_crops_are_cut_and_a_default_one_adapts(project, tmp_path):
    (tmp_path / "few").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(256, size=(40, 48, 48, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(tmp_path / f"few/{number}.png")
    rows = [[f"{number}.png", f"das Bild mit der Nummer {number}"] for number in range(40)]
    with (tmp_path / "few/bilder.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["Datei", "Beschreibung"], *rows])
    source = f"clip.ingestion.source=pairs,clip.ingestion.path={tmp_path / 'few'},clip.augmentation.crop_size=16"
    result = project.kedro("--pipeline=clip", f"--params={source},pretraining.batch_size=64")
    assert result.exit_code == 1 and "received 64, but there are 24 pairs to train on" in " ".join(
        result.output.split()
    )
    assert not [name for name in project.files() if "05_model_input" in name]
    result = project.kedro("--pipeline=clip", "--tags=augmentation,pretraining", f"--params={source},{QUICK_TRAINING}")
    said = " ".join(result.output.split())
    assert result.exit_code == 0, result.output
    assert (
        "clip.pretraining is adapted, as there are 24 pairs to train on: batch_size=8, learning_rate=0.000354" in said
    )
    assert "clip.augmentation is adapted, as images of 48 pixels a side are no digits" in said
    (run,) = [run for run in project.runs() if run.info.status == "FINISHED"]
    assert run.data.params["pretraining.batch_size"] == "8" and run.data.params["augmentation.degrees"] == "0.0"
    parameters = project.json("data/06_models/clip/run.json")["parameters"]
    assert parameters["pretraining"]["batch_size"] == 8 and parameters["augmentation"]["crop_scale"] == [0.6, 1.0]
