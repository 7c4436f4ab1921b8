"""What killed runs leave in MLflow."""

import signal
import socket
import subprocess
from pathlib import Path

import mlflow
import pytest

from pipelines import hooks
from pipelines.registry.killed import mark_killed_runs
from tests.pipelines.test_faults import wait_for

NAME = "swept"


@pytest.fixture
def client(tmp_path, database, monkeypatch):
    """A client of a registry of its own, and an experiment in it."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    (tmp_path / "mlflow.db").write_bytes(database.read_bytes())
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient(uri, uri)
    client.experiment = client.create_experiment("an experiment", (tmp_path / "artifacts").as_uri())
    client.create_registered_model(NAME)
    return client


def logged(client, project, host=None, version=False):
    """A run that is at work and has logged a model with a file; its id, and the file."""
    tags = {"hostname": host or socket.gethostname(), "project_path": project.as_posix()}
    run = client.create_run(client.experiment, tags=tags).info.run_id
    model = client.create_logged_model(client.experiment, source_run_id=run)
    file = Path(model.artifact_location.removeprefix("file://"), "weights")
    file.parent.mkdir(parents=True)
    file.write_text("weights")
    if version:
        client.create_model_version(NAME, model.artifact_location, run, model_id=model.model_id)
    return run, file


def test_models_of_killed_runs_that_no_version_has_are_swept_and_no_others(client, tmp_path):
    orphan, version = logged(client, tmp_path), logged(client, tmp_path, version=True)
    elsewhere = logged(client, tmp_path, host="another"), logged(client, tmp_path / "another")
    mark_killed_runs(tmp_path, client.experiment)
    statuses = {run: client.get_run(run).info.status for run, _ in (orphan, version, *elsewhere)}
    assert list(statuses.values()) == ["KILLED", "KILLED", "RUNNING", "RUNNING"]
    assert [file.exists() for _, file in (orphan, version, *elsewhere)] == [False, True, True, True]
    assert len(client.search_logged_models([client.experiment])) == 3
    assert client.get_model_version(NAME, "1").run_id == version[0]


def test_a_run_that_was_killed_elsewhere_than_its_training_is_known_by_its_last_host(client, tmp_path):
    run, file = logged(client, tmp_path, host="another")
    client.set_tag(run, "rerun.hostname", socket.gethostname())
    mark_killed_runs(tmp_path, client.experiment)
    assert client.get_run(run).info.status == "KILLED" and not file.exists()


def test_a_run_is_known_by_its_tags_from_its_creation_on(project, monkeypatch):
    def killed(files):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(hooks, "_keep_record", killed)
        project.kedro("--pipeline=byol")
    (run,) = project.runs()
    client = project.client()
    client.update_run(run.info.run_id, "RUNNING")
    assert {"hostname", "project_path", "method", "command"} <= run.data.tags.keys()
    assert project.kedro("--tags=ingestion").exit_code == 0
    assert [each.info.status for each in project.runs()] == ["FINISHED", "KILLED"]


@pytest.mark.parametrize("sent, code", [(signal.SIGTERM, 143), (signal.SIGINT, 1)])
def test_a_signal_ends_a_run_in_a_sentence_and_marks_it(project, sent, code):
    project.set(pretraining={"epochs": 200})
    command = ["python", "-c", HEARD, "kedro", "run", "--pipeline=byol"]
    silent = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, cwd=project.path, env=project.real_environment(), **silent)
    wait_for((project.path / "data/06_models/byol/resume.safetensors").exists, process)
    process.send_signal(sent)
    output, _ = process.communicate()
    assert process.returncode == code and "Traceback" not in output
    assert "Error: stopped; run the command again" in output
    assert [run.info.status for run in project.runs()] == ["KILLED"]


HEARD = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a test runner in the background ignores
os.execvp(sys.argv[1], sys.argv[1:])
"""
