"""`kedro retrain` and `make retrain`: DVC, MLflow and git as they are, a folder as the remote."""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from filelock import FileLock

NAME = "unlabeled-image_folder"
PROMOTED, KEPT, NOTHING_NEW = 0, 10, 11


@pytest.fixture(scope="module")
def retrained(tmp_path_factory, make_project):
    """A project that has been retrained once, on data that nobody had added to DVC."""
    project = make_project(tmp_path_factory.mktemp("retrain") / "project")
    project.track_data()
    project.set(ingestion={"source": "image_folder", "path": "data/01_raw/photos", "fraction": 1.0})
    project.commit("of photos")
    project.photos(0, 300)
    project.first = retrain(project)
    project.commit("retrained")
    return project


def retrain(project, *options, **variables):
    return project.shell("kedro", "retrain", *options, OMP_NUM_THREADS="1", **variables)


def ran(result):
    return [line.split("'")[1] for line in result.stdout.splitlines() if line.startswith("Running stage")]


def report(project):
    return (project.path / "data/08_reporting/retrain.md").read_text()


def test_the_first_is_promoted_and_everything_is_in_the_remote(retrained):
    first = retrained.first
    assert first.returncode == PROMOTED, first.stdout + first.stderr
    assert "new or changed data: data/01_raw/photos" in first.stdout and len(ran(first)) == 6
    assert retrained.json("data/08_reporting/retrain.json")["outcome"] == "promoted"
    assert (retrained.path / "data/01_raw/photos.dvc").exists()
    assert "is up to date" in retrained.shell("dvc", "status", "--cloud").stdout.replace("in sync", "is up to date")


def test_nothing_new_says_so_and_runs_nothing(retrained):
    result = retrain(retrained)
    assert result.returncode == NOTHING_NEW and not ran(result)
    assert "nothing new: see data/08_reporting/retrain.md" in result.stdout and report(retrained).startswith(
        "# Nothing new"
    )


def test_new_images_join_the_old_ones_and_the_champion_is_measured_on_them(retrained, tmp_path):
    before = pd.read_parquet(retrained.path / "data/02_intermediate/manifest.parquet").set_index("path")
    weights = (retrained.path / "data/06_models/byol/encoder.safetensors").read_bytes()
    retrained.photos(300, 340)
    (retrained.path / "data/01_raw/photos/0/0000.png").unlink()
    summary, output = tmp_path / "summary.md", tmp_path / "output"
    result = retrain(retrained, GITHUB_STEP_SUMMARY=str(summary), GITHUB_OUTPUT=str(output))
    assert result.returncode in (PROMOTED, KEPT), result.stdout + result.stderr
    now = pd.read_parquet(retrained.path / "data/02_intermediate/manifest.parquet").set_index("path")
    assert len(now) == 339 and (now.split == before.split.reindex(now.index).fillna(now.split)).all()
    assert weights != (retrained.path / "data/06_models/byol/encoder.safetensors").read_bytes()
    version = retrained.client().get_model_version(NAME, "2")
    assert "measured again on today's data" in version.tags["decision"]
    assert version.tags["drift"].startswith("40 new images, 1 gone: the new ones are ")
    assert version.tags["data_digest"] != retrained.client().get_model_version(NAME, "1").tags["data_digest"]
    text = report(retrained)
    assert text == summary.read_text() and "xychart-beta" in text and "images: 300 → 339 (40 new, 1 gone)" in text
    outcome = {PROMOTED: "promoted", KEPT: "kept"}[result.returncode]
    assert output.read_text() == f"outcome={outcome}\n"
    stored = retrained.json("data/08_reporting/retrain.json")
    assert (stored["outcome"], stored["version"]) == (outcome, "2")


def test_the_caches_of_a_retraining_are_those_that_all_images_at_once_give(retrained, make_project, tmp_path):
    project = make_project(tmp_path / "at once")
    project.set(ingestion={"source": "image_folder", "path": "data/01_raw/photos", "fraction": 1.0})
    shutil.copytree(retrained.path / "data/01_raw/photos", project.path / "data/01_raw/photos")
    assert project.kedro("--pipeline=byol", "--tags=ingestion,augmentation").exit_code == 0
    for name in ("02_intermediate/images.npy", "05_model_input/crops/views.npy"):
        np.testing.assert_array_equal(np.load(project.path / "data" / name), np.load(retrained.path / "data" / name))


def test_a_corrupted_cache_is_found_and_rebuilt(retrained):
    path = retrained.path / "data/05_model_input/crops/views.npy"
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 255]))
    result = retrain(retrained)
    assert "augmentation" in ran(result) and path.read_bytes() == whole
    assert result.returncode == NOTHING_NEW  # and what follows from it is as it was


def test_make_knows_of_success_and_failure(retrained):
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(retrained.root / name, retrained.path / name)
    environment = retrained.path / ".venv"
    environment.symlink_to(retrained.root / ".venv") if (retrained.root / ".venv").exists() else None
    if not (environment / ".ready").exists():
        pytest.skip("this checkout has no .venv that make has set up")
    make = ["make", "-o", ".venv/.ready", "retrain"]
    assert retrained.shell(*make).returncode == 0
    assert retrained.shell(*make, "ARGS=--method=nobody").returncode == 2


def test_a_method_that_is_not_there_is_named(retrained):
    result = retrained.command("retrain", "--method=nobody")
    assert result.exit_code == 1 and "expected one of byol" in " ".join(result.output.split())


def test_a_remote_that_is_away_costs_nothing_and_is_told(retrained):
    (retrained.path / ".dvc_remote").rename(retrained.path / "elsewhere")
    (retrained.path / ".dvc_remote").write_text("a file where a folder should be")
    retrained.set(evaluation={"draws": 3})
    result = retrain(retrained)
    assert result.returncode == 1 and "is registered, but the data are not in the remote yet" in " ".join(
        result.stderr.split()
    )
    assert ran(result) == ["evaluation-byol", "registration-byol", "reporting-byol"]
    (retrained.path / ".dvc_remote").unlink()
    (retrained.path / "elsewhere").rename(retrained.path / ".dvc_remote")
    assert retrain(retrained).returncode == NOTHING_NEW
    assert "in sync" in retrained.shell("dvc", "status", "--cloud").stdout


def test_two_retrainings_at_once_do_not_meet(retrained):
    with FileLock(retrained.path / "data/.retrain.lock"):
        result = retrain(retrained)
    assert result.returncode == 1 and "another retraining is at work" in result.stderr


def test_a_failed_stage_is_a_failure(retrained):
    retrained.set(pretraining={"learning_rate": 1e30})
    result = retrain(retrained, "--no-push")
    assert result.returncode == 1 and "dvc repro failed" in result.stderr and "Traceback" not in result.stderr


def test_the_workflow_calls_make_on_a_schedule_and_by_hand(retrained):
    workflow = yaml.safe_load((retrained.root / ".github/workflows/retrain.yml").read_text())
    assert workflow[True].keys() == {"schedule", "workflow_dispatch"}  # YAML reads `on` so
    assert workflow["concurrency"]["cancel-in-progress"] is False
    assert "make retrain" in [step.get("run") for step in workflow["jobs"]["retrain"]["steps"]]
