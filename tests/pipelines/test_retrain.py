"""`kedro retrain` and `make retrain`: DVC, MLflow and git as they are, a folder as the remote."""

import os
import shutil
import signal
import subprocess
import time

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

from pipelines.commands.reproduce import _diff
from pipelines.commands.retrain import Outcome, Retrained, _fetch, _push, _track_new, _uncommitted, _write_revisions
from pipelines.registry.provenance import tracked_data
from unlabeled.errors import UnlabeledError
from unlabeled.images.crops import open_views

NAME = "unlabeled-photos"
PROMOTED, KEPT, NOTHING_NEW = 0, 10, 11
CACHES = {"ingestion": "02_intermediate/images.npy", "augmentation": "05_model_input/crops/views.npy"}


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


def fetch(project):
    with project.served():
        _fetch(project.path, "byol", _uncommitted(project.path))


def taken_in(project):
    """What is new in the raw data, once DVC tracks it."""
    with project.served():
        return _track_new(project.path, _uncommitted(project.path))


def stored(data):
    return np.load(data / "02_intermediate/images.npy")


def cached(data):
    return open_views(data / "05_model_input/crops")[:]


def ran(result):
    return [line.split("'")[1] for line in result.stdout.splitlines() if line.startswith("Running stage")]


def registered(project):
    """What version.json says; None while DVC has taken it away."""
    try:
        return project.json("data/06_models/byol/version.json")
    except FileNotFoundError:
        return None


def report(project):
    return (project.path / "data/08_reporting/retrain.md").read_text()


def test_the_first_is_promoted_and_everything_is_in_the_remote(retrained):
    first = retrained.first
    assert first.returncode == PROMOTED, first.stdout + first.stderr
    assert "new or changed data: data/01_raw/photos" in first.stdout and len(ran(first)) == 6
    assert "to commit: git add data/01_raw/.gitignore data/01_raw/photos.dvc dvc.lock\n" in first.stdout
    assert ".dvc_remote, a folder in this project, which is lost with it" in " ".join(first.stdout.split())
    assert retrained.json("data/08_reporting/retrain.json")["outcome"] == "promoted"
    assert (retrained.path / "data/01_raw/photos.dvc").exists()
    assert "is up to date" in retrained.shell("dvc", "status", "--cloud").stdout.replace("in sync", "is up to date")


def test_nothing_new_says_so_and_runs_nothing(retrained):
    result = retrain(retrained)
    assert result.returncode == NOTHING_NEW and not ran(result)
    assert "nothing new: see data/08_reporting/retrain.md" in result.stdout and report(retrained).startswith(
        "# Nothing new"
    )


def test_data_beside_those_that_are_ingested_are_tracked_and_told(retrained):
    aside = retrained.path / "data/01_raw/aside"
    aside.mkdir()
    (aside / "a.png").write_bytes(b"of nobody's interest")
    result = retrain(retrained, "--no-push")
    assert result.returncode == NOTHING_NEW
    assert "data/01_raw/aside: tracked now, and nothing has changed by it; are they where ingestion.source" in report(
        retrained
    )
    assert retrained.shell("dvc", "remove", "data/01_raw/aside.dvc").returncode == 0
    shutil.rmtree(aside)


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
    assert "measured again on today's data" in version.tags["decision"] and version.tags["git_dirty"] == "false"
    mlflow.set_tracking_uri(f"sqlite:///{retrained.path / 'mlflow.db'}")
    assert b"data/01_raw/photos.dvc" in _diff(version)  # with which a reproduction finds these data
    assert version.tags["drift"].startswith("40 new, 1 gone, 0 changed, 0 relabelled: the new ones are ")
    assert version.tags["data_digest"] != retrained.client().get_model_version(NAME, "1").tags["data_digest"]
    text = report(retrained)
    assert text == summary.read_text() and "xychart-beta" in text and "images: 300 → 339 (40 new, 1 gone, 0 cha" in text
    outcome = {PROMOTED: "promoted", KEPT: "kept"}[result.returncode]
    assert output.read_text() == f"outcome={outcome}\nregistered=true\n"
    told = retrained.json("data/08_reporting/retrain.json")
    assert (told["outcome"], told["version"]) == (outcome, "2")


def test_where_only_labels_have_moved_the_encoder_is_probed_again_and_not_trained(retrained):
    raw, model = retrained.path / "data/01_raw/photos", retrained.path / "data/06_models/byol"
    before, run = (model / "encoder.safetensors").read_bytes(), retrained.json("data/06_models/byol/run.json")
    for file in sorted((raw / "3").iterdir())[:8]:
        file.rename(raw / "5" / file.name)
    result = retrain(retrained)
    assert result.returncode in (PROMOTED, KEPT), result.stdout + result.stderr
    assert "only labels have changed since byol was trained" in " ".join(result.stdout.split())
    old, new = (retrained.client().get_model_version(NAME, number) for number in ("2", "3"))
    assert (model / "encoder.safetensors").read_bytes() == before and new.tags["weights"] == old.tags["weights"]
    assert new.tags["data_digest"] != old.tags["data_digest"] == new.tags["labels_before"]
    assert retrained.json("data/06_models/byol/run.json")["run_id"] == run["run_id"]
    told = "0 new, 0 gone, 0 changed, 8 relabelled (3 → 5: 8)"
    assert told in report(retrained) or told in retrained.command("compare", "2", "3").output
    assert retrain(retrained).returncode == NOTHING_NEW


def test_the_caches_of_a_retraining_are_those_that_all_images_at_once_give(retrained, make_project, tmp_path):
    project = make_project(tmp_path / "at once")
    project.set(ingestion={"source": "image_folder", "path": "data/01_raw/photos", "fraction": 1.0})
    shutil.copytree(retrained.path / "data/01_raw/photos", project.path / "data/01_raw/photos")
    assert project.kedro("--pipeline=byol", "--tags=ingestion,augmentation").exit_code == 0
    images, views = ([open_(each.path / "data") for each in (project, retrained)] for open_ in (stored, cached))
    np.testing.assert_array_equal(*images)
    np.testing.assert_array_equal(*views)


@pytest.mark.parametrize("stage, file", CACHES.items())
def test_a_corrupted_cache_is_found_and_rebuilt(retrained, stage, file):
    path = retrained.path / "data" / file
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 255]))
    result = retrain(retrained)
    assert stage in ran(result) and path.read_bytes() == whole
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


def test_a_version_whose_retraining_was_killed_before_its_report_is_reported_by_the_next(retrained):
    before, environment = registered(retrained), retrained.real_environment(OMP_NUM_THREADS="1")
    retrained.set(evaluation={"draws": 4})
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    process = subprocess.Popen(["kedro", "retrain"], cwd=retrained.path, env=environment, **silent)
    try:
        while registered(retrained) in (None, before):
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    result = retrain(retrained)
    assert result.returncode in (PROMOTED, KEPT), result.stdout + result.stderr
    told = retrained.json("data/08_reporting/retrain.json")
    assert told["version"] == registered(retrained)["version"] != before["version"]
    assert f"version {told['version']} is" in report(retrained)
    assert retrain(retrained).returncode == NOTHING_NEW


def test_of_two_retrainings_at_once_one_waits_for_another_day(retrained):
    both = [retrained.start("kedro", "retrain", OMP_NUM_THREADS="1") for _ in range(2)]
    output = [each.communicate()[0] for each in both]
    assert sorted(each.returncode for each in both) == [1, NOTHING_NEW], output
    assert sum("another retraining is at work" in each for each in output) == 1


def test_a_version_that_this_registry_does_not_have_is_registered_again(retrained):
    version = retrained.json("data/06_models/byol/version.json")["version"]
    retrained.client().delete_model_version(NAME, version)
    result = retrain(retrained)
    assert result.returncode in (PROMOTED, KEPT), result.stdout + result.stderr
    assert f"{NAME} version {version} is not in this registry" in " ".join(result.stdout.split())
    assert "pretraining-byol" not in ran(result)
    assert int(retrained.json("data/06_models/byol/version.json")["version"]) > int(version)
    retrained.commit("registered again")
    assert retrain(retrained).returncode == NOTHING_NEW


@pytest.fixture(scope="module")
def colleague(retrained, tmp_path_factory):
    """A clone by somebody who has pulled the data, and has a registry of their own."""
    path = tmp_path_factory.mktemp("colleague") / "clone"
    if retrained.shell("git", "status", "--porcelain").stdout:
        retrained.commit("everything")
    assert retrained.shell("dvc", "push").returncode == 0
    subprocess.run(["git", "clone", "-q", retrained.path, path], check=True)
    clone = type(retrained)(path)
    clone.shell("dvc", "remote", "modify", "--local", "store", "url", str(retrained.path / ".dvc_remote"))
    assert clone.shell("dvc", "pull", "--allow-missing").returncode == 0
    return clone


def test_the_first_retraining_of_a_clone_takes_in_what_was_added_and_removed_there(retrained, colleague):
    colleague.photos(340, 350)
    (colleague.path / "data/01_raw/photos/1/0001.png").unlink()
    result = retrain(colleague)
    assert result.returncode == PROMOTED, result.stdout + result.stderr  # in a registry that had no champion
    manifest = pd.read_parquet(colleague.path / "data/02_intermediate/manifest.parquet")
    assert len(manifest) == 348 and "1/0001.png" not in set(manifest.path)
    colleague.commit("more photos")


def test_data_of_others_that_cannot_be_fetched_are_not_undone(retrained, colleague):
    subprocess.run(["git", "pull", "-q", colleague.path, "main"], cwd=retrained.path, check=True)
    named = (retrained.path / "data/01_raw/photos.dvc").read_text()
    remote, elsewhere = retrained.path / ".dvc_remote", retrained.path / "elsewhere"
    remote.rename(elsewhere)
    for options in ([], ["--no-push"]):
        result = retrain(retrained, *options)
        assert result.returncode == 1 and "git names other data for data/01_raw/photos" in " ".join(
            result.stderr.split()
        )
        assert (retrained.path / "data/01_raw/photos.dvc").read_text() == named and not ran(result)
        assert retrained.json("data/08_reporting/retrain.json")["outcome"] == "failed"
        assert report(retrained).startswith("# Failed\n\ngit names other data")
    shutil.rmtree(remote, ignore_errors=True)
    elsewhere.rename(remote)
    result = retrain(retrained)
    assert result.returncode in (PROMOTED, KEPT), result.stdout + result.stderr
    assert (retrained.path / "data/01_raw/photos.dvc").read_text() == named
    assert len(list((retrained.path / "data/01_raw/photos").rglob("*.png"))) == 348


def test_a_first_version_that_is_no_better_than_the_baselines_leaves_no_champion(retrained):
    retrained.set(registration={"must_beat_baselines": True, "model_name": "beats-nothing"})
    result = retrain(retrained, "--no-push")
    assert result.returncode == KEPT, result.stdout + result.stderr
    assert report(retrained).startswith(
        "# beats-nothing version 1 is a challenger; there is no champion yet\n\nnot clear"
    )
    retrained.set(registration={"must_beat_baselines": False, "model_name": None})
    retrained.commit("as it was")


def test_a_version_of_another_model_is_new_whatever_its_number(retrained):
    retrained.set(ingestion={"source": "digits", "path": None, "fraction": 0.3})
    result = retrain(retrained)
    assert result.returncode == PROMOTED, result.stdout + result.stderr
    version = retrained.json("data/06_models/byol/version.json")
    assert (version["name"], version["version"]) == ("unlabeled-digits", "1")


def test_a_failed_stage_is_a_failure(retrained):
    retrained.set(pretraining={"learning_rate": 1e30})
    result = retrain(retrained, "--no-push")
    assert result.returncode == 1 and "dvc repro failed" in result.stderr and "Traceback" not in result.stderr
    assert retrained.json("data/08_reporting/retrain.json")["outcome"] == "failed"


def test_hidden_files_are_no_data_and_what_is_tracked_deeper_down_stays_tracked_there(project):
    project.track_data()
    raw = project.path / "data/01_raw"
    for name in ("photos/2025/a.png", "photos/2026/b.png", "photos2/c.png", ".DS_Store", "photos/.DS_Store"):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(name.encode())
    assert project.shell("dvc", "add", "data/01_raw/photos/2025").returncode == 0
    assert taken_in(project) == ["data/01_raw/photos/2026", "data/01_raw/photos2"]
    (raw / "photos2/d.png").write_bytes(b"new")
    assert taken_in(project) == ["data/01_raw/photos2"] and taken_in(project) == []


@pytest.fixture
def reverted(project):
    """Photos of which somebody has added one, and taken it back in git: DVC's cache has both revisions."""
    project.track_data()
    (project.path / "data/02_intermediate").mkdir()
    (project.path / "data/02_intermediate/images.npy").touch()  # nothing to fetch of the stages
    folder = project.path / "data/01_raw/photos"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(name.encode())
        assert taken_in(project) == ["data/01_raw/photos"]
        project.commit(name)
    _write_revisions(project.path, tracked_data(project.path))
    subprocess.run(["git", "checkout", "-q", "HEAD~1", "--", "data/01_raw/photos.dvc"], cwd=project.path, check=True)
    return project


def test_photos_that_git_has_taken_back_are_not_added_again(reverted):
    fetch(reverted)
    assert taken_in(reverted) == []
    assert [file.name for file in (reverted.path / "data/01_raw/photos").iterdir()] == ["a.png"]


def test_what_is_new_here_and_has_changed_in_git_as_well_is_for_people_to_decide(reverted):
    (reverted.path / "data/01_raw/photos/c.png").write_bytes(b"new")
    for _ in range(2):
        with pytest.raises(UnlabeledError, match="git names other data for data/01_raw/photos.*dvc add"):
            fetch(reverted)
    assert reverted.shell("dvc", "add", "data/01_raw/photos").returncode == 0
    fetch(reverted)
    assert taken_in(reverted) == [] and (reverted.path / "data/01_raw/photos/c.png").exists()


def test_data_added_by_hand_need_no_remote(reverted):
    assert reverted.shell("dvc", "remote", "remove", "store").returncode == 0
    (reverted.path / "data/01_raw/photos/c.png").write_bytes(b"new")
    assert reverted.shell("dvc", "add", "data/01_raw/photos").returncode == 0
    fetch(reverted)
    (reverted.path / "data/01_raw/photos/a.png").unlink()
    fetch(reverted)
    assert taken_in(reverted) == ["data/01_raw/photos"]


def test_without_a_remote_the_data_are_said_to_be_here_alone(project, caplog):
    _push(project.path, "byol", Retrained(Outcome.NOTHING_NEW, {}, ""))
    assert "are on this machine alone, as DVC has no remote: `dvc remote add --default store PLACE`" in caplog.text


def test_raw_data_tracked_as_one_are_left_as_one(project):
    project.track_data()
    (project.path / "data/01_raw/photos").mkdir()
    (project.path / "data/01_raw/photos/a.png").write_bytes(b"a")
    assert project.shell("dvc", "add", "data/01_raw").returncode == 0
    (project.path / "data/01_raw/photos/.DS_Store").write_bytes(b"of a file manager")
    assert taken_in(project) == []
    (project.path / "data/01_raw/photos/b.png").write_bytes(b"b")
    assert taken_in(project) == ["data/01_raw"]


def test_keys_among_the_data_are_neither_tracked_nor_pushed(project):
    project.track_data()
    folder = project.path / "data/01_raw"
    for name in ("id_rsa", "aws-credentials.json", "service.pem", "photos/id_rsa", "photos/.env", "photos/a.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(f"hunter2 {name}".encode())
    assert taken_in(project) == ["data/01_raw/photos"]
    cached = [path.read_bytes() for path in (project.path / ".dvc/cache").rglob("*") if path.is_file()]
    assert b"hunter2 photos/a.png" in cached and len([each for each in cached if each.startswith(b"hunter2")]) == 1


def test_many_files_in_no_folder_are_refused(project):
    project.track_data()
    for number in range(30):
        (project.path / f"data/01_raw/{number:02d}.png").write_bytes(b"%d" % number)
    with pytest.raises(UnlabeledError, match="holds 30 files that are in no folder, such as 00.png"):
        taken_in(project)


def test_the_workflow_calls_make_on_a_schedule_and_by_hand(retrained):
    workflow = yaml.safe_load((retrained.root / ".github/workflows/retrain.yml").read_text())
    assert workflow[True].keys() == {"schedule", "workflow_dispatch"}  # YAML reads `on` so
    assert workflow["concurrency"]["cancel-in-progress"] is False
    job = workflow["jobs"]["retrain"]
    assert "make retrain" in [step.get("run") for step in job["steps"]] and "MLFLOW_TRACKING_URI" in job["if"]


def test_an_environment_is_used_and_other_parameters_of_it_run_everything_again(retrained):
    (retrained.path / "conf/small").mkdir()
    settings = retrained.path / "conf/small/parameters.yml"
    settings.write_text(yaml.safe_dump({"pretraining": {"epochs": 1, "learning_rate": 0.003}}))
    result = retrain(retrained, "--env=small")
    assert result.returncode in (PROMOTED, KEPT) and "pretraining-byol" in ran(result), result.stderr
    assert len(pd.read_csv(retrained.path / "data/08_reporting/byol/history.csv")) == 1
    result = retrain(retrained, "--env=small")
    assert result.returncode == NOTHING_NEW and ran(result) == []
