"""One page over all methods of an experiment."""

import html
import re

import pytest

PAGE = "data/08_reporting/leaderboard.html"


def run(project, *options):
    result = project.kedro(*options)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def boarded(tmp_path_factory, trained):
    """A project in which two methods have run and a leaderboard was made, and what that printed in one line."""
    project = trained.copy(tmp_path_factory.mktemp("boarded") / "project")
    run(project, "--pipeline=pca", "--from-nodes=pca.pretraining")
    return project, run(project, "--pipeline=leaderboard")


def page(project):
    return html.unescape((project.path / PAGE).read_text(encoding="utf-8"))


def links(project):
    """The file that each method's name leads to."""
    found = re.findall(r'<a href="([^#"][^"]*)">(\w+)</a>', page(project))
    return {method: (project.path / PAGE).parent / link for link, method in found}


def test_the_page_has_every_method_with_its_numbers(boarded):
    project, _ = boarded
    assert links(project).keys() == {"byol", "pca"}
    for method in ("byol", "pca"):
        few = project.json(f"data/08_reporting/{method}/metrics.json")["few_label"]["1"]
        assert f"{100 * few['mean']:.1f}\u00a0±\u00a0{100 * few['std']:.1f}" in page(project)
        twin = project.json(f"data/08_reporting/{method}/metrics.json")["baselines"]["random_encoder"]["few_label"]["1"]
        epochs = {"byol": 2, "pca": 1}[method]
        row = re.search(rf">{method}</a>(.*?)</tr>", page(project), re.DOTALL)[1]
        assert f"{100 * twin['mean']:.1f}\u00a0±\u00a0{100 * twin['std']:.1f}" in row.split("<td")[1]
        assert f'data-value="{epochs}"' in row.split("<td")[-1]


def test_a_method_leads_to_the_page_of_its_run(boarded):
    project, _ = boarded
    for method, file in links(project).items():
        assert file.read_bytes() == (project.path / f"data/08_reporting/{method}/report.html").read_bytes()


def test_it_says_where_the_page_is_and_mlflow_has_it_too(boarded):
    project, printed = boarded
    assert f"runs of digits: 2; the page: {PAGE}" in printed
    run_id = project.runs()[0].info.run_id
    assert "leaderboard.html" in {each.path for each in project.client().list_artifacts(run_id)}


def test_of_two_runs_of_a_method_the_later_one_counts(boarded):
    project, _ = boarded
    earlier = links(project)
    run(project, "--pipeline=pca", "--from-nodes=pca.pretraining", "--params=evaluation.draws=3")
    run(project, "--pipeline=leaderboard")
    later = links(project)
    assert later["byol"] == earlier["byol"] and later["pca"] != earlier["pca"] and later["pca"].exists()


def test_without_a_run_it_says_which_command_makes_one(project):
    result = project.kedro("--pipeline=leaderboard")
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert "has no finished run of a method with its metrics yet: run kedro run --pipeline=byol first" in " ".join(
        result.output.split()
    )
    assert not project.files()
