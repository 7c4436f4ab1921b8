"""Where a project lies, and where in it a command is run, make no difference."""

import logging
import subprocess

import pytest

from unlabeled.training import plan

ODD = "feature%2Fbyol? é #1 'q'"
"""A branch's name as Jenkins makes a folder of it, and all else that means something in a URI or to a shell."""


@pytest.fixture(scope="module")
def odd(tmp_path_factory, make_project):
    project = make_project(tmp_path_factory.mktemp("odd") / ODD)
    (project.path / "notes").mkdir()
    return project


def run(project, *arguments):
    """A command of Kedro's in a subfolder, in a process of its own."""
    command = ["python", "-m", "kedro", *arguments]
    place = {"cwd": project.path / "notes", "env": project.environment(COLUMNS="200")}
    return subprocess.run(command, **place, capture_output=True, text=True)


def test_every_step_works_from_a_subfolder_of_a_project_with_an_odd_name(odd, photos):
    (odd.path / "data/01_raw/photos").symlink_to(photos)
    for command, said in (
        (["run", "--pipeline=byol"], "its page: ../data/08_reporting/byol/report.html"),
        (["run", "--pipeline=embed", "--params=embed.path=data/01_raw/photos,embed.version=1"], "20 images embedded"),
        (
            ["run", "--pipeline=search", "--params=search.image=data/01_raw/photos/03.png"],
            "their page: ../data/08_reporting/similar.html",
        ),
        (["run", "--pipeline=export", "--params=export.image=data/01_raw/photos"], "../data/07_model_output/export"),
        (["run", "--pipeline=leaderboard"], "the page: ../data/08_reporting/leaderboard.html"),
        (["champion"], "unlabeled-digits"),
    ):
        result = run(odd, *command)
        assert result.returncode == 0 and said in result.stdout, result.stdout + result.stderr
    assert (odd.path / "mlflow.db").exists() and list((odd.path / "mlartifacts").iterdir())
    assert [each.name for each in odd.path.parent.iterdir()] == [ODD] and not list((odd.path / "notes").iterdir())


def test_a_path_that_is_not_there_is_told_whole(odd):
    result = run(odd, "run", "--pipeline=byol", "--params=ingestion.source=image_folder,ingestion.path=data/01_raw/no")
    assert f"ingestion.path: {odd.path}/data/01_raw/no does not exist" in " ".join(result.stderr.split())


def test_a_record_has_the_path_as_it_was_written(odd):
    written = {run.data.params.get("embed.path") for run in odd.client().search_runs(["1"])}
    assert "data/01_raw/photos" in written


def test_a_long_training_is_announced_before_its_crops_are_cut(project, caplog, monkeypatch):
    monkeypatch.setattr(plan, "MIN_REPORTED_SECONDS", -1)
    caplog.set_level(logging.INFO)
    assert project.kedro("--pipeline=byol", "--tags=ingestion,augmentation,pretraining").exit_code == 0
    told = [record.getMessage() for record in caplog.records]
    where = {start: next(i for i, line in enumerate(told) if line.startswith(start)) for start in ("plan:", "crops:")}
    assert where["plan:"] < where["crops:"] and sum(line.startswith("plan:") for line in told) == 1
