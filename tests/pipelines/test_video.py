"""Methods of clips by the same stages: from films to a registered model and its page."""

import base64
import subprocess
import sys

import mlflow
import numpy as np
import pandas as pd
import pytest

from unlabeled.video.moving_digits import make_clips

QUICK = "pretraining.epochs=1,pretraining.warmup_epochs=0,evaluation.draws=2,evaluation.shots=[1],"
QUICK += "video_audio.ingestion.frames=2,video_audio.ingestion.image_size=16,"
CLEAN = """
import sys, mlflow, numpy, pandas
from pathlib import Path
model = mlflow.pyfunc.load_model(sys.argv[1])
numpy.savez(sys.argv[3], **model.predict(pandas.DataFrame({"video": [Path(sys.argv[2]).read_bytes()]})))
"""


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """The synthetic clips."""
    folder = tmp_path_factory.mktemp("films")
    make_clips(folder)
    return folder


@pytest.fixture(scope="module")
def trained_video(tmp_path_factory, make_project, films):
    project = make_project(tmp_path_factory.mktemp("video") / "project")
    given = f"{QUICK}video_audio.ingestion.source=video,video_audio.ingestion.path={films}"
    result = project.kedro("--pipeline=video_audio", f"--params={given}")
    assert result.exit_code == 0, result.output
    return project


@pytest.fixture
def version(trained_video):
    return trained_video.client().get_model_version_by_alias("unlabeled-films0", "champion")


def test_it_is_measured_and_has_a_page(trained_video, version):
    metrics = trained_video.json("data/08_reporting/video_audio/metrics.json")
    assert {"raw_input", "random_encoder", "pca"} == metrics["baselines"].keys() and metrics["linear_probe_accuracy"]
    assert 0.3 < metrics["correspondence_accuracy"] <= 1 and metrics["sound"]["linear_probe_accuracy"] > 0
    page = (trained_video.path / "data/08_reporting/video_audio/report.html").read_text()
    assert all(title in page for title in ("What belongs together", "spectrograms alone", "a sound for a video"))
    assert "An encoder of videos and their sounds" in version.description and version.tags["method"] == "video_audio"


def test_the_model_answers_films_in_a_clean_process(trained_video, version, films, tmp_path):
    film = next(films.rglob("*.mp4"))
    here = mlflow.pyfunc.load_model(version.source).predict(pd.DataFrame({"video": [film.read_bytes()]}))
    assert here.keys() == {"frames_embedding", "sound_embedding", "similarity", "probability", "predicted"}
    code = [sys.executable, "-c", CLEAN, version.source, str(film), str(tmp_path / "there.npz")]
    done = subprocess.run(code, cwd=tmp_path, env=trained_video.environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    there = np.load(tmp_path / "there.npz")
    assert all(np.array_equal(there[name], value) for name, value in here.items())


def test_a_server_answers_films(trained_video, version, films, serve):
    film = next(films.rglob("*.mp4")).read_bytes()
    with serve(trained_video, "unlabeled-films0") as server:
        status, said = server.answer(dataframe_records=[{"video": base64.b64encode(film).decode()}])
        refused, why = server.answer(dataframe_records=[{"video": base64.b64encode(b"no film").decode()}])
    expected = mlflow.pyfunc.load_model(version.source).predict(pd.DataFrame({"video": [film]}))
    assert status == 200 and said["predictions"].keys() == expected.keys()
    assert said["predictions"].pop("predicted") == expected.pop("predicted").tolist()
    for name, value in expected.items():
        np.testing.assert_allclose(said["predictions"][name], value, rtol=1e-4, atol=1e-5)
    assert refused == 400 and "the video of row 0" in why["message"]


def test_what_is_no_film_is_one_sentence(version):
    model = mlflow.pyfunc.load_model(version.source)
    with pytest.raises(mlflow.MlflowException, match="the video of row 0: "):
        model.predict(pd.DataFrame({"video": [b"no film"]}))


def test_spectrograms_of_another_recipe_are_not_trained_on(trained_video, films):
    given = (
        f"{QUICK}video_audio.ingestion.source=video,video_audio.ingestion.path={films},video_audio.augmentation.mels=20"
    )
    result = trained_video.kedro("--pipeline=video_audio", "--from-nodes=video_audio.pretraining", f"--params={given}")
    assert result.exit_code == 1 and "run the stage augmentation again" in " ".join(result.output.split())


def test_a_folder_without_films_is_one_sentence(project, tmp_path):
    (tmp_path / "empty").mkdir()
    given = f"video_audio.ingestion.source=video,video_audio.ingestion.path={tmp_path / 'empty'}"
    result = project.kedro("--pipeline=video_audio", f"--params={given}")
    assert result.exit_code == 1 and "holds no" in " ".join(result.output.split())
