"""The DAG that `make dag` writes by kedro-airflow: loaded and run by Airflow, in an environment of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STAGES = ["ingestion", "augmentation", "pretraining", "evaluation", "registration", "reporting"]
COLLECT = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
(dag,) = bag.dags.values()
told = {"errors": bag.import_errors, "id": dag.dag_id, "schedule": dag.schedule, "catchup": dag.catchup}
told |= {"limits": [dag.max_active_runs, dag.max_active_tasks], "tags": sorted(dag.tags)}
told["tasks"] = {task.task_id: [task.bash_command, sorted(task.upstream_task_ids)] for task in dag.tasks}
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory, make_project):
    """A project with its DAG, and with raw data that are in the remote alone."""
    project = make_project(tmp_path_factory.mktemp("airflow") / "project")
    shutil.copy(project.root / "Makefile", project.path)
    (project.path / ".venv").symlink_to(sys.prefix)
    (project.path / "data/01_raw/a.bin").write_bytes(b"raw")
    config = (project.root / ".dvc/config").read_text()
    for command in ("init -q", "add data/01_raw/a.bin", "push"):
        assert project.shell("dvc", *command.split()).returncode == 0
        (project.path / ".dvc/config").write_text(config)
    project.commit("a project with raw data")
    for lost in (project.path / "data/01_raw/a.bin", project.path / ".dvc/cache"):
        shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    result = project.shell("make", "--old-file=.venv/.ready", "dag")
    assert result.returncode == 0, result.stdout + result.stderr
    return project


@pytest.fixture(scope="module")
def airflow(tmp_path_factory, project):
    """A function that runs a program of Airflow's environment."""
    binaries, home = Path(sys.executable).parent, tmp_path_factory.mktemp("home")
    uv = shutil.which("uv", path=f"{binaries}{os.pathsep}{os.environ['PATH']}")
    if not uv:
        pytest.skip("uv, which makes Airflow's environment, is not on this machine")
    venv = home / "venv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    command = [uv, "pip", "sync", "--quiet", "--python", venv / "bin/python", "--require-hashes"]
    synced = subprocess.run([*command, project.root / "airflow.lock"], capture_output=True, text=True)
    if "Failed to fetch" in synced.stderr:
        pytest.skip(f"Airflow cannot be fetched from here: {' '.join(synced.stderr.split())}")
    assert synced.returncode == 0, synced.stderr
    settings = {"CORE__DAGS_FOLDER": str(project.path / "dags"), "USAGE_DATA_COLLECTION__ENABLED": "false"}
    settings |= {"CORE__LOAD_EXAMPLES": "false", "LOGGING__LOGGING_LEVEL": "WARNING"}
    variables = {"AIRFLOW_HOME": str(home), **{f"AIRFLOW__{key}": value for key, value in settings.items()}}
    return lambda program, *arguments: project.shell(str(venv / "bin" / program), *arguments, **variables)


def test_the_dag_is_written_with_a_task_a_stage(project):
    (written,) = (project.path / "dags").glob("*.py")
    text = written.read_text()
    compile(text, written, "exec")
    assert [stage for stage in STAGES if f'task_id="{stage}"' not in text] == []
    assert "dags" not in project.shell("git", "status", "--porcelain").stdout


def test_airflow_loads_it(project, airflow):
    result = airflow("python", "-c", COLLECT, str(project.path / "dags"))
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["errors"] == {} and (told["id"], told["schedule"]) == ("unlabeled-byol", "0 3 * * 1")
    assert not told["catchup"] and told["limits"] == [1, 1] and told["tags"] == ["unlabeled"]
    assert set(told["tasks"]) == {"pull", *STAGES, "push"}
    command, after = told["tasks"]["registration"]
    assert command == ".venv/bin/kedro run --pipelines=byol --nodes=byol.registration"
    assert {"pull", "ingestion", "pretraining", "evaluation"} <= set(after)


def test_airflow_runs_it_and_a_version_is_registered(project, airflow):
    assert airflow("airflow", "db", "migrate").returncode == 0
    result = airflow("airflow", "dags", "test", "unlabeled-byol")
    assert result.returncode == 0, result.stdout + result.stderr
    version = project.client().get_model_version_by_alias("unlabeled-digits", "champion")
    assert project.json("data/06_models/byol/version.json")["version"] == str(version.version) == "1"
    ran = {run.info.run_id: run.data.params for run in project.runs()}
    assert len(ran) == 3 and {"pretraining.epochs", "registration.level"} <= set(ran[version.run_id])
    assert (project.path / "data/01_raw/a.bin").read_bytes() == b"raw"
    assert project.shell("dvc", "status", "--cloud").stdout.strip().endswith("in sync.")
