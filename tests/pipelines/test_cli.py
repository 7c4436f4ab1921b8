"""What a command prints, and what it keeps to itself."""

import logging

import pytest


def test_a_quiet_run_prints_nothing_nor_do_the_processes_that_it_starts(project):
    result = project.shell("kedro", "run", "--quiet", "--pipeline=compare", "--params=compare.methods=pca")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "" and result.stderr == ""
    assert project.json("data/08_reporting/pca/metrics.json")["linear_probe_accuracy"] > 0.5


def test_a_quiet_run_still_says_what_went_wrong(project):
    result = project.shell("kedro", "run", "--quiet", "--tags=pretraining")
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("Error: ") and "run the stages before this one" in " ".join(result.stderr.split())


def test_only_missing_outputs_says_what_it_did(registered, caplog):
    caplog.set_level(logging.INFO, "pipelines")
    (registered.path / "data/08_reporting/byol/report.html").unlink()
    for ran, kept in (("byol.reporting", "ingestion, augmentation, byol.pretraining"), ("none", "ingestion, ")):
        assert registered.kedro("--pipeline=byol", "--only-missing-outputs").exit_code == 0
        told = f"--only-missing-outputs: stages that ran: {ran}; with all their outputs already there: {kept}"
        assert told in caplog.text


@pytest.mark.parametrize("command, package", [("lab", "jupyterlab"), ("notebook", "notebook")])
def test_jupyter_is_named_where_it_is_not_installed(project, command, package):
    result = project.command("jupyter", command)
    assert result.exit_code == 1 and result.output.startswith("Error: kedro jupyter needs the package " + package)
