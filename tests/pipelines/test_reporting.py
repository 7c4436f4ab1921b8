"""The page of a run: its numbers, where they come from, and when it is built anew."""

import html
import json
import re
from pathlib import Path

import pytest

FINETUNE = "--params=finetune.method=autoencoder,finetune.labels=1+all,finetune.draws=2,finetune.steps=8"
FINETUNED = "encoder, fine-tuned"
PAGE = "data/08_reporting/autoencoder/report.html"


@pytest.fixture(scope="module")
def reported(tmp_path_factory, make_project):
    """A project in which an autoencoder has run once, and what the run printed in one line."""
    project = make_project(tmp_path_factory.mktemp("reported") / "project")
    result = project.kedro("--pipeline=autoencoder")
    assert result.exit_code == 0, result.output
    return project, " ".join(result.output.split())


def page(project):
    return html.unescape((project.path / PAGE).read_text(encoding="utf-8"))


def rebuild(project):
    result = project.kedro("--pipeline=autoencoder", "--tags=reporting")
    assert result.exit_code == 0, result.output
    return page(project)


def artifact(project, run):
    """What MLflow has of the page."""
    return Path(project.client().download_artifacts(run.info.run_id, "report.html")).read_bytes()


def row_of(text, name):
    """The cells of a table's row."""
    row = re.search(rf"<tr><td[^>]*>{re.escape(name)}</td>(.*?)</tr>", text)
    return re.findall(r"<td[^>]*>(.*?)</td>", row[1])


def percent(accuracy):
    return f"{100 * accuracy:.1f}"


def test_the_numbers_on_the_page_are_those_of_the_metrics(reported):
    project, _ = reported
    metrics = project.json("data/08_reporting/autoencoder/metrics.json")
    facts = dict(re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", page(project)))
    few = metrics["few_label"]["1"]
    assert facts["one label a class"] == f"{percent(few['mean'])}\u00a0±\u00a0{percent(few['std'])}\u00a0%"
    assert facts["linear probe"] == f"{percent(metrics['linear_probe_accuracy'])}\u00a0%"
    assert facts["kNN"] == f"{percent(metrics['knn_accuracy'])}\u00a0%"
    one, five, every, knn = row_of(page(project), "raw pixels")
    pixels = metrics["baselines"]["raw_input"]
    assert five.startswith(percent(pixels["few_label"]["5"]["mean"])) and knn == percent(pixels["knn_accuracy"])
    assert every.startswith(percent(pixels["linear_probe_accuracy"]))


def test_the_page_says_how_to_repeat_the_run(reported):
    project, _ = reported
    (run,), version = project.runs(), project.json("data/06_models/autoencoder/version.json")
    text = page(project)
    assert run.data.tags["mlflow.source.git.commit"] in text and run.data.tags["command"] in text
    assert run.info.run_id in text and run.data.tags["data_digest"] in text
    assert f"{version['name']} version {version['version']}: {version['reason']}" in text
    assert row_of(text, "pretraining.epochs") == ["2"] and row_of(text, "registration.level") == ["0.05"]


def test_the_page_shows_what_the_method_makes_of_images(reported):
    text = page(reported[0])
    assert "What it makes of images" in text and text.count('alt="reconstruction"') == 12


def test_the_page_is_an_artifact_of_the_run(reported):
    project, _ = reported
    (run,) = project.runs()
    assert artifact(project, run) == (project.path / PAGE).read_bytes()


def test_a_run_ends_with_three_numbers_and_the_way_to_its_page(reported):
    project, printed = reported
    metrics = project.json("data/08_reporting/autoencoder/metrics.json")
    numbers = f"one label a class {metrics['few_label']['1']['mean']:.1%}, "
    numbers += f"linear probe {metrics['linear_probe_accuracy']:.1%}, kNN {metrics['knn_accuracy']:.1%}"
    assert "autoencoder on digits after " in printed and numbers in printed
    assert f"its page: {PAGE}" in printed and "trained for 2 epochs in" in printed
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in printed


def test_the_stage_alone_builds_the_page_anew_in_the_run_of_its_training(reported):
    project, _ = reported
    before, (run,) = project.files(), project.runs()
    (project.path / PAGE).write_text("an older page")
    assert run.data.tags["command"] in rebuild(project)
    changed = {name for name, content in project.files().items() if content != before[name]}
    assert changed <= {PAGE} and [each.info.run_id for each in project.runs()] == [run.info.run_id]
    assert artifact(project, run) == (project.path / PAGE).read_bytes()


def test_a_page_without_its_run_says_what_to_do(project):
    assert project.kedro("--tags=ingestion").exit_code == 0
    result = project.kedro("--pipeline=autoencoder", "--tags=reporting")
    assert result.exit_code == 1 and "is missing: run the stages before this one" in " ".join(result.output.split())


@pytest.fixture(scope="module")
def finetuned(reported):
    """The project once the encoder was fine-tuned, and what that measured."""
    project, _ = reported
    result = project.kedro("--pipeline=finetune", FINETUNE)
    assert result.exit_code == 0, result.output
    return project, project.json("data/08_reporting/finetune.json")


def test_the_page_shows_what_finetuning_measured(finetuned):
    project, measured = finetuned
    cells = row_of(rebuild(project), FINETUNED)
    assert cells[0].startswith(percent(measured["labels"]["1"]["finetuned"]["mean"])) and cells[1] == ""
    assert cells[2].startswith(percent(measured["labels"]["all"]["finetuned"]["mean"]))


@pytest.mark.parametrize("other", [{"data_digest": "another"}, {"method": "byol"}])
def test_what_finetuning_measured_on_other_data_or_of_another_method_is_not_shown(finetuned, other):
    project, measured = finetuned
    (project.path / "data/08_reporting/finetune.json").write_text(json.dumps(measured | other))
    assert FINETUNED not in rebuild(project)
