"""The DAG that `make dag` writes by kedro-airflow: loaded and run by Airflow, in an environment of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COLLECT = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
(dag,) = bag.dags.values()
told = {"errors": bag.import_errors, "id": dag.dag_id, "schedule": dag.schedule, "catchup": dag.catchup}
told |= {"limit": dag.max_active_runs, "tags": sorted(dag.tags)}
told["tasks"] = {task.task_id: [task.bash_command, task.cwd, task.skip_on_exit_code] for task in dag.tasks}
print(json.dumps(told))
"""

STATES = """
import json, os, sqlite3
database = sqlite3.connect(os.path.join(os.environ["AIRFLOW_HOME"], "airflow.db"))
print(json.dumps([state for state, in database.execute("select state from task_instance order by start_date")]))
"""
"""Prints how the tasks ended, in their order."""


@pytest.fixture(scope="module")
def project(tmp_path_factory, make_project):
    """A project of photos with its DAG, in a folder with a space in its name; the photos are in the remote alone."""
    project = make_project(tmp_path_factory.mktemp("air flow") / "project")
    shutil.copy(project.root / "Makefile", project.path)
    (project.path / ".venv").symlink_to(sys.prefix)
    project.set(ingestion={"source": "image_folder", "path": "data/01_raw/photos", "fraction": 1.0})
    project.photos(0, 300)
    project.track_data()
    for command in ("add data/01_raw/photos", "push"):
        assert project.shell("dvc", *command.split()).returncode == 0
    project.commit("a project with raw data")
    for lost in (project.path / "data/01_raw/photos", project.path / ".dvc/cache"):
        shutil.rmtree(lost)
    settings = project.path / "conf/base/airflow.yml"
    settings.write_text(settings.read_text().replace("retry_delay: 5", "retry_delay: 0"))
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


def test_the_dag_is_written_and_not_for_git(project):
    (written,) = (project.path / "dags").glob("*.py")
    compile(written.read_text(), written, "exec")
    assert "dags" not in project.shell("git", "status", "--porcelain").stdout


def test_airflow_loads_it(project, airflow):
    result = airflow("python", "-c", COLLECT, str(project.path / "dags"))
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["errors"] == {} and (told["id"], told["schedule"]) == ("unlabeled-byol", "0 3 * * 1")
    assert not told["catchup"] and told["limit"] == 1 and told["tags"] == ["unlabeled"]
    ((command, folder, skipped),) = told["tasks"].values()
    assert command.startswith(".venv/bin/kedro retrain --method=byol ||") and folder == str(project.path)
    assert skipped == [11] or skipped == 11


@pytest.mark.slow
def test_airflow_runs_it_tells_a_new_champion_from_nothing_new_and_both_from_a_failure(project, airflow):
    assert airflow("airflow", "db", "migrate").returncode == 0
    assert airflow("airflow", "dags", "test", "unlabeled-byol").returncode == 0
    version = project.client().get_model_version_by_alias("unlabeled-photos", "champion")
    assert project.json("data/08_reporting/retrain.json")["outcome"] == "promoted" and str(version.version) == "1"
    assert len(list((project.path / "data/01_raw/photos").rglob("*.png"))) == 300
    assert project.shell("dvc", "status", "--cloud").stdout.strip().endswith("in sync.")
    airflow("airflow", "dags", "test", "unlabeled-byol")
    assert project.json("data/08_reporting/retrain.json")["outcome"] == "nothing_new"
    project.set(pretraining={"learning_rate": 1e30})
    airflow("airflow", "dags", "test", "unlabeled-byol")
    assert project.json("data/08_reporting/retrain.json")["outcome"] == "failed"
    assert json.loads(airflow("python", "-c", STATES).stdout.splitlines()[-1]) == ["success", "skipped", "failed"]
