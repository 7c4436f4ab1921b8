"""All methods side by side: trained, kept or failed, and a leaderboard of them."""

import re

import pandas as pd
import pytest
from PIL import Image

METHODS = "--params=compare.methods=pca+colorization+simclr"


@pytest.fixture(scope="module")
def compared(tmp_path_factory, make_project):
    project = make_project(tmp_path_factory.mktemp("compared") / "project")
    result = project.kedro("--pipeline=compare", METHODS)
    assert result.exit_code == 0, result.output
    return project, result


def board(project):
    return pd.read_csv(project.path / "data/08_reporting/leaderboard.csv").set_index("method")


def test_every_method_is_on_the_board_and_so_are_the_baselines(compared):
    rows = board(compared[0])
    assert set(rows.index) == {
        "pca",
        "colorization",
        "simclr",
        "raw_input (baseline)",
        "pca (baseline)",
    }
    assert rows.status[["pca", "simclr"]].tolist() == ["trained", "trained"]
    assert rows.few_label_1.dropna().is_monotonic_decreasing and rows.linear_probe_accuracy.notna().sum() == 4


def test_each_method_has_its_own_random_encoder_beside_it(compared):
    project, _ = compared
    twins = {}
    for method in ("pca", "simclr"):
        twin = project.json(f"data/08_reporting/{method}/metrics.json")["baselines"]["random_encoder"]
        twins[method], row = twin["few_label"]["1"]["mean"], board(project).loc[method]
        assert row.random_encoder_few_label_1 == twins[method]
        assert row.random_encoder_linear_probe_accuracy == twin["linear_probe_accuracy"]
    assert twins["pca"] != twins["simclr"]


def test_the_printed_table_has_its_header_above_it_in_words_and_80_columns(compared):
    lines = compared[1].output.splitlines()
    start = next(number for number, line in enumerate(lines) if "accuracy on test, %:" in line)
    rule = next(number for number, line in enumerate(lines) if number > start and set(line.strip()) == {"─"})
    header, rows = lines[start + 1 : rule], lines[rule + 1 : rule + 6]
    words = " ".join(" ".join(header).split())
    assert lines[rule - 1].split()[:2] == ["features", "status"] and "few_label" not in words
    assert all(word in words for word in ("random", "label a", "probe", "kNN"))
    assert sorted(row.split()[0] for row in rows) == ["PCA", "colorization", "pca", "raw", "simclr"]
    numbers = board(compared[0]).loc["simclr"]
    (simclr,) = (row.split() for row in rows if row.startswith("simclr"))
    assert simclr[1] == "trained" and simclr[-1] == f"{100 * numbers.knn_accuracy:.1f}"
    assert max(map(len, [*header, *rows])) <= 80


def test_a_method_that_fails_says_why_and_does_not_lose_the_others(compared):
    failed = board(compared[0]).loc["colorization"]
    assert failed.status == "failed"
    assert "colorization needs colours, and these images have 1 channel" in failed.reason
    assert "colorization failed: " in compared[1].output


def test_the_numbers_are_those_of_the_methods_own_reports(compared):
    project, _ = compared
    for method in ("pca", "simclr"):
        metrics, row = project.json(f"data/08_reporting/{method}/metrics.json"), board(project).loc[method]
        assert row.linear_probe_accuracy == metrics["linear_probe_accuracy"]
        assert row.few_label_5 == metrics["few_label"]["5"]["mean"]


def test_the_methods_are_children_of_one_run(compared):
    project, _ = compared
    runs = {run.info.run_id: run for run in project.runs()}
    parents = [run for run in runs.values() if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs.values() if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1 and len(children) == 3
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    assert {run.data.tags["method"]: run.info.status for run in children} == {
        "pca": "FINISHED",
        "simclr": "FINISHED",
        "colorization": "FAILED",
    }
    assert "simclr.linear_probe_accuracy" in parents[0].data.metrics
    commands = {run.data.tags["method"]: run.data.tags["command"] for run in children}
    assert commands["simclr"] == "kedro run --pipeline=simclr"


def test_comparing_registers_nothing(compared):
    project, _ = compared
    assert not project.client().search_registered_models()
    page = (project.path / "data/08_reporting/simclr/report.html").read_text()
    assert "It is not registered: registration.which=none." in page
    assert project.json("data/06_models/simclr/version.json")["version"] == ""


def test_the_board_is_a_picture_too(compared):
    project, _ = compared
    with Image.open(project.path / "data/08_reporting/leaderboard.png") as picture:
        assert picture.width > 800
    artifacts = {each.path for run in project.runs() for each in project.client().list_artifacts(run.info.run_id)}
    assert {"leaderboard.csv", "leaderboard.png"} <= artifacts


def test_what_was_compared_is_on_the_page_over_all_methods(compared):
    project, _ = compared
    assert project.kedro("--pipeline=leaderboard").exit_code == 0
    page = (project.path / "data/08_reporting/leaderboard.html").read_text()
    links = re.findall(r'<a href="([^#"][^"]*)">(\w+)</a>', page)
    assert {method for _, method in links} == {"pca", "simclr"}
    assert all((project.path / "data/08_reporting" / link).exists() for link, _ in links)


def test_what_is_trained_with_the_same_inputs_is_kept_and_what_is_not_is_trained_again(compared):
    project, _ = compared
    before = project.json("data/06_models/simclr/version.json")
    assert project.kedro("--pipeline=compare", "--params=compare.methods=pca+simclr+pca").exit_code == 0
    assert board(project).status[["pca", "simclr"]].tolist() == ["kept", "kept"]
    assert project.json("data/06_models/simclr/version.json") == before
    changed = "--params=compare.methods=pca+simclr,simclr.pretraining.epochs=1"
    assert project.kedro("--pipeline=compare", changed).exit_code == 0
    assert board(project).status[["pca", "simclr"]].tolist() == ["kept", "trained"]
    assert len(pd.read_csv(project.path / "data/08_reporting/simclr/history.csv")) == 1


def test_the_best_on_validation_is_registered_where_that_is_asked_for(compared):
    project, _ = compared
    histories = {name: project.path / f"data/08_reporting/{name}/history.csv" for name in ("pca", "simclr")}
    accuracies = {name: pd.read_csv(file).knn_accuracy.iloc[-1] for name, file in histories.items()}
    best = max(accuracies, key=accuracies.get)
    asked = "--params=compare.methods=pca+simclr,simclr.pretraining.epochs=1,registration.which=best"
    result = project.kedro("--pipeline=compare", asked)
    assert result.exit_code == 0 and board(project).status[["pca", "simclr"]].tolist() == ["kept", "kept"]
    assert f"best by kNN on the validation split: {best}" in " ".join(result.output.split())
    assert len(project.client().search_model_versions("name='unlabeled-digits'")) == 1
    assert project.client().get_model_version_by_alias("unlabeled-digits", "champion").tags["method"] == best
    again = project.kedro("--pipeline=compare", asked)
    assert "registered already, as version 1 of unlabeled-digits" in " ".join(again.output.split())


def test_a_method_that_there_is_not_is_refused(project):
    result = project.kedro("--pipeline=compare", "--params=compare.methods=byol+boyl")
    assert result.exit_code == 1 and "expected names among byol, simclr" in result.output and "'boyl'" in result.output
    assert not project.files()


def test_nothing_that_can_be_trained_is_an_error(project):
    result = project.kedro("--pipeline=compare", "--params=compare.methods=colorization")
    assert result.exit_code == 1
    assert "no method could be trained; the first, colorization: colorization needs colours" in result.output
