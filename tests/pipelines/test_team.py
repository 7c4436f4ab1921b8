"""A team's set-up, for real: MLflow's server over PostgreSQL, its artifacts and DVC's cache in S3 (moto's server)."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import boto3
import mlflow
import numpy as np
import pytest

SEARCHED = os.pathsep.join([os.environ["PATH"], *map(str, Path("/usr/lib/postgresql").glob("*/bin"))])
INITDB, POSTGRES = shutil.which("initdb", path=SEARCHED), shutil.which("postgres", path=SEARCHED)
AWS = {"AWS_ACCESS_KEY_ID": "team", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
MODEL, RAW = "unlabeled-digits", "data/01_raw/photos/a.bin"
LOAD = """
import sys
import mlflow, numpy as np
model = mlflow.pyfunc.load_model("models:/unlabeled-digits@champion")
np.savez(sys.argv[2], **model.predict(np.load(sys.argv[1])))
"""

pytestmark = [
    pytest.mark.team,
    pytest.mark.skipif(not (INITDB and POSTGRES), reason="PostgreSQL's initdb and postgres are not on this machine"),
]


class Team(NamedTuple):
    """Where a team's servers are."""

    s3: str
    database: str
    mlflow: str

    @property
    def variables(self) -> dict[str, str]:
        """All that a member sets to track there: none of S3's, which the server alone talks to."""
        return {"MLFLOW_TRACKING_URI": self.mlflow}

    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(tracking_uri=self.mlflow, registry_uri=self.mlflow)

    def objects(self, bucket: str) -> dict[str, int]:
        """The sizes of what a bucket holds, by key."""
        s3 = boto3.client("s3", "us-east-1", endpoint_url=self.s3, aws_access_key_id="team", aws_secret_access_key="-")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", [])}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def served(*command, port, log, seconds=120, **options):
    """A server, from when it answers to the end of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, **options)
    try:
        end = time.monotonic() + seconds
        while not answers(port):
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@contextmanager
def postgresql(folder):
    """The address of an empty database; PostgreSQL refuses to run as root."""
    root = os.geteuid() == 0
    other = {"user": "nobody", "group": "nogroup", "extra_groups": []} if root else {}
    with tempfile.TemporaryDirectory(dir="/tmp") as home:  # which nobody can reach, unlike pytest's folders
        data, password, port = Path(home, "data"), Path(home, "password"), free_port()
        password.write_text("secret")
        if root:
            for path in (home, password):
                shutil.chown(path, "nobody")
        options = ["--username=mlflow", "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync"]
        subprocess.run([INITDB, "-D", data, *options], cwd=home, check=True, capture_output=True, **other)
        where = ["-h", "127.0.0.1", "-p", str(port), "-k", home]
        with served(POSTGRES, "-D", data, *where, port=port, log=folder / "postgres.log", cwd=home, **other):
            yield f"postgresql://mlflow:secret@127.0.0.1:{port}/postgres"


@contextmanager
def s3(folder):
    """The address of a server with the buckets `mlflow` and `dvc`."""
    port = free_port()
    command = (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port))
    with served(*command, port=port, log=folder / "s3.log"):
        url = f"http://127.0.0.1:{port}"
        client = boto3.client("s3", "us-east-1", endpoint_url=url, aws_access_key_id="team", aws_secret_access_key="-")
        for bucket in ("mlflow", "dvc"):
            client.create_bucket(Bucket=bucket)
        yield url


@contextmanager
def mlflow_server(folder, database, storage):
    """The address of MLflow's server, started as docs/operating.md says."""
    port = free_port()
    command = ("mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--artifacts-destination", "s3://mlflow")
    variables = {"MLFLOW_BACKEND_STORE_URI": database, "MLFLOW_S3_ENDPOINT_URL": storage, **AWS}
    variables |= {"MLFLOW_WORKERS": "1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # of its processes, the least
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", **variables}
    with served(*command, port=port, log=folder / "mlflow.log", cwd=folder, env=environment):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    folder = tmp_path_factory.mktemp("servers")
    with postgresql(folder) as database, s3(folder) as storage, mlflow_server(folder, database, storage) as tracking:
        yield Team(storage, database, tracking)


@pytest.fixture(scope="module")
def project(tmp_path_factory, make_project, team):
    """A member's project, in which BYOL has run once."""
    project = make_project(tmp_path_factory.mktemp("team") / "project")
    (project.path / "mlflow.db").unlink()
    (project.path / RAW).parent.mkdir()
    (project.path / RAW).write_bytes(bytes(range(256)))
    dvc(project, "init", "-q")
    (project.path / ".dvc/config").write_text((project.root / ".dvc/config").read_text())
    dvc(project, "remote", "add", "--default", "--force", "store", "s3://dvc/unlabeled")
    dvc(project, "remote", "modify", "store", "endpointurl", team.s3)
    dvc(project, "add", "data/01_raw/photos")
    project.commit("the team's remote, and its raw data")
    result = project.shell("kedro", "run", "--pipeline=byol", **team.variables)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1].strip() == f"all runs: {team.mlflow}"
    return project


@pytest.fixture(scope="module")
def run(project, team):
    """MLflow's run of that project."""
    experiment = team.client().get_experiment_by_name("unlabeled")
    (run,) = team.client().search_runs([experiment.experiment_id])
    return run


def dvc(project, *arguments):
    result = project.shell("dvc", *arguments, **AWS)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def test_a_run_is_on_the_server_and_leaves_no_database_in_the_project(project, team, run):
    metrics = project.json("data/08_reporting/byol/metrics.json")
    assert run.info.status == "FINISHED" and run.data.tags["git_dirty"] == "false"
    assert run.data.metrics["linear_probe_accuracy"] == pytest.approx(metrics["linear_probe_accuracy"])
    assert run.data.params["pretraining.epochs"] == "2"
    assert [metric.step for metric in team.client().get_metric_history(run.info.run_id, "loss")] == [1, 2]
    assert not (project.path / "mlflow.db").exists() and not (project.path / "mlartifacts").exists()


def test_its_artifacts_are_in_the_servers_bucket_and_reached_through_the_server(project, team, run):
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    artifacts = {each.path for each in team.client().list_artifacts(run.info.run_id)}
    assert {"metrics.json", "report.html", "predictions.parquet", "history.csv"} <= artifacts
    key = next(key for key in team.objects("mlflow") if key.endswith("report.html"))
    assert team.objects("mlflow")[key] == (project.path / "data/08_reporting/byol/report.html").stat().st_size


def test_its_version_is_the_champion_and_loads_from_the_server_alone(project, team, run, tmp_path):
    version = team.client().get_model_version_by_alias(MODEL, "champion")
    assert set(team.client().get_model_version(MODEL, "1").aliases) == {"challenger", "champion"}
    assert version.run_id == run.info.run_id and "; there was no champion" in version.tags["decision"]
    images = project.path / "data/02_intermediate/images.npy"
    command = [sys.executable, "-c", LOAD, images, tmp_path / "out.npz"]
    subprocess.run(command, cwd=tmp_path, env=project.environment(**team.variables), check=True, capture_output=True)
    features = np.load(project.path / "data/04_feature/byol.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["embedding"], features)


def test_raw_data_and_outputs_go_to_s3_and_come_back(project, team):
    dvc(project, "commit", "--force", "dvc.yaml")
    dvc(project, "push")
    before = project.outputs()
    digests = [hashlib.md5(before[name]).hexdigest() for name in (RAW, "data/06_models/byol/encoder.safetensors")]
    assert {f"unlabeled/files/md5/{md5[:2]}/{md5[2:]}" for md5 in digests} <= set(team.objects("dvc"))
    for folder in (".dvc/cache", "data"):
        shutil.rmtree(project.path / folder)
    subprocess.run(["git", "checkout", "-q", "data"], cwd=project.path, check=True)
    dvc(project, "pull")
    assert project.files() == before


def test_another_member_pulls_the_same_and_meets_the_same_champion(project, team, run, tmp_path):
    project.commit("what dvc made of the run")
    subprocess.run(["git", "clone", "-q", project.path, tmp_path / "clone"], check=True)
    clone = type(project)(tmp_path / "clone")
    dvc(clone, "pull")
    assert clone.files().keys() == project.files().keys()
    long = "--params=ingestion.path=/" + 5500 * "x"  # more than the longest card that PostgreSQL holds
    result = clone.shell("kedro", "run", "--pipeline=byol", long, **team.variables)
    assert result.returncode == 0, result.stdout + result.stderr
    made = clone.json("data/06_models/byol/version.json")
    assert (made["name"], made["version"], made["champion"]) == (MODEL, "2", False)
    assert "of version 1: +0.0 points" in made["reason"]
    assert team.client().get_model_version_by_alias(MODEL, "champion").version == "1"
    assert team.client().get_model_version_by_alias(MODEL, "challenger").version == "2"
