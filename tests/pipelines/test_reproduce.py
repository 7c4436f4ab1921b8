"""`kedro reproduce`: a version made again from what the registry, git and DVC know of it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

NAME = "unlabeled-image_folder"


@pytest.fixture(scope="module")
def registered(tmp_path_factory, make_project):
    """A version of data that DVC tracks, made from a work tree with changes and with parameters of its own."""
    project = make_project(tmp_path_factory.mktemp("reproduce") / "project")
    project.track_data()
    project.photos(0, 300)
    project.set(ingestion={"source": "image_folder", "path": "data/01_raw/photos", "fraction": 1.0})
    for command in (["add", "data/01_raw/photos"], ["push"]):
        result = project.shell("dvc", *command)
        assert result.returncode == 0, result.stderr
    project.commit("data")
    project.set(evaluation={"draws": 3})  # not committed
    (project.path / "conf/local").mkdir(exist_ok=True)
    (project.path / "conf/local/parameters.yml").write_text("pretraining: {batch_size: 48}\n")  # unknown to git
    result = project.kedro("--pipeline=byol", "--params=pretraining.seed=5")
    assert result.exit_code == 0, result.output
    return project


def tags(project):
    return project.client().get_model_version(NAME, "1").tags


def test_a_version_carries_all_that_it_takes_to_make_it_again(registered):
    known = tags(registered)
    assert known["git_dirty"] == "true" and known["seed"] == "5" and len(known["mlflow.source.git.commit"]) == 40
    assert json.loads(known["dvc_data"]).keys() == {"data/01_raw/photos.dvc"}
    assert {"torch", "numpy"} <= json.loads(known["libraries"]).keys() and known["python"]
    assert {"device", "cpu", "threads"} <= json.loads(known["hardware"]).keys()
    artifacts = {each.path for each in registered.client().list_artifacts(known["training_run"])}
    assert {"parameters.json", "changes.diff", "manifest.parquet"} <= artifacts


def test_it_comes_out_the_same_from_the_remote_after_everything_here_has_changed(registered):
    shutil.rmtree(registered.path / ".dvc/cache")
    shutil.rmtree(registered.path / "data/01_raw/photos/3")
    (registered.path / "conf/local/parameters.yml").unlink()
    subprocess.run(["git", "checkout", "-q", "--", "conf"], cwd=registered.path, check=True)
    result = registered.shell("kedro", "reproduce", "--version=champion", OMP_NUM_THREADS="1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "weights and metrics are identical, bit for bit" in result.stdout
    assert list(registered.path.parent.iterdir()) == [registered.path]  # the second work tree is gone
    assert len(registered.client().search_model_versions(f"name='{NAME}'")) == 1  # and the registry as it was


def test_what_is_not_the_same_is_named(registered):
    client, known = registered.client(), tags(registered)
    client.set_model_version_tag(NAME, "1", "libraries", json.dumps({"torch": "1.0"}))
    parameters = json.loads(Path(client.download_artifacts(known["training_run"], "parameters.json")).read_text())
    parameters["pretraining"]["seed"] = parameters["byol"]["pretraining"]["seed"] = 6
    client.log_text(known["training_run"], json.dumps(parameters), "parameters.json")
    result = registered.shell("kedro", "reproduce", "--version=1", "--keep", OMP_NUM_THREADS="1")
    assert "weights: " in result.stdout and "tensors differ" in result.stdout
    assert "seed: 5 was recorded, 6 is found" in result.stdout and "recorded is 1.0" in result.stdout
    assert "identical" not in result.stdout
    tree = registered.path.with_name(f"project-{NAME}-1")
    assert (tree / "data/06_models/byol/encoder.safetensors").exists()
    again = registered.command("reproduce", "--version=1")
    assert again.exit_code == 1 and "is there already" in again.output


@pytest.mark.parametrize("version, expected", [("7", "has no unlabeled-image_folder version 7"), ("nobody", "nobody")])
def test_a_version_that_is_not_there_is_named(registered, version, expected):
    result = registered.command("reproduce", f"--version={version}")
    assert result.exit_code == 1 and expected in " ".join(result.output.split())


def test_a_version_without_a_record_says_what_it_lacks(registered):
    client = registered.client()
    client.create_registered_model("bare")
    client.create_model_version("bare", str(registered.path))
    result = registered.command("reproduce", "--version=1", "--name=bare")
    assert result.exit_code == 1 and "it has no tag git_dirty, method, mlflow.source.git.commit" in result.output
