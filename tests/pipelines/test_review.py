"""`kedro champion`, `compare`, `promote` and `rollback`, on a registry in SQLite."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest

from pipelines.clients.git import COMMIT
from pipelines.registry import review
from pipelines.registry.provenance import PLUGIN
from unlabeled.evaluation.significance import wilson_interval

NAME = "unlabeled-digits"


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory, make_project):
    """A project with three versions, of which the first is the champion and the third the challenger."""
    project = make_project(tmp_path_factory.mktemp("review") / "project")
    for options in (["--pipeline=byol"], ["--pipeline=pca"], ["--pipeline=byol", "--params=pretraining.epochs=3"]):
        result = project.kedro(*options)
        assert result.exit_code == 0, result.output
    return project


@pytest.fixture
def registry(reviewed):
    """That project, with its registry as it was."""
    client = reviewed.client()
    mlflow.set_tracking_uri(f"sqlite:///{reviewed.path / 'mlflow.db'}")
    client.set_registered_model_alias(NAME, "champion", "1")
    client.set_registered_model_tag(NAME, "champions", "1")
    return reviewed


def said(project, *arguments, fails=False):
    result = project.command(*arguments)
    assert result.exit_code == (1 if fails else 0), result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def champion_of(project):
    return project.client().get_model_version_by_alias(NAME, "champion").version


def test_the_table_has_a_row_a_version_with_its_interval_and_aliases(registry):
    result = registry.command("champion")
    rows = {line.split()[0]: line for line in result.output.splitlines() if line.strip()[:2] in ("1 ", "2 ", "3 ")}
    assert list(rows) == ["3", "2", "1"]
    assert "byol" in rows["1"] and "champion" in rows["1"] and "challenger" in rows["3"] and "pca" in rows["2"]
    metrics = registry.json("data/08_reporting/byol/metrics.json")
    accuracy = f"{100 * metrics['linear_probe_accuracy']:.1f} ["
    assert accuracy in rows["3"] and metrics["data_digest"][:8] in rows["3"]


def test_what_tells_the_challenger_from_the_champion_is_said(registry):
    output = said(registry, "champion")
    assert re.search("champion: version 1: [^;]*better than [^;]*; there was no champion", output)
    assert "These test images have judged 2 challengers: the champion's accuracy on them was selected" in output
    assert "from version 1 to version 3" in output and "pretraining.epochs: 2 → 3" in output
    assert "on the same test images:" in output and "data: the same code: the same libraries: the same" in output


def test_two_versions_of_different_methods_are_compared_by_what_each_was_made_with(registry):
    output = said(registry, "compare", "champion", "2")
    assert (
        "pretraining.encoder: small_resnet → linear" in output and "pretraining.method.momentum: 0.97 → None" in output
    )


def test_a_version_is_promoted_by_hand_with_its_reason_and_rolled_back(registry):
    assert "version 3 is the champion" in said(registry, "promote", "3", "--reason", "it looks better")
    version = registry.client().get_model_version(NAME, "3")
    assert champion_of(registry) == 3 and "made champion by hand: it looks better" in version.tags["decision"]
    assert "version 1 is the champion again, instead of version 3" in said(registry, "rollback")
    assert champion_of(registry) == 1
    assert "rolled back" in registry.client().get_model_version(NAME, "3").tags["decision"]


def test_a_rollback_goes_past_champions_that_are_gone(registry):
    client = registry.client()
    gone = client.create_model_version(NAME, str(registry.path / "nowhere"))
    said(registry, "promote", "2")
    client.set_registered_model_tag(NAME, "champions", f"1 {gone.version} 77 2")
    assert "version 1 is the champion again, instead of version 2" in said(registry, "rollback")
    client.delete_model_version(NAME, gone.version)


@pytest.mark.parametrize("listed", ["1", "1 3 2"])
def test_a_champion_that_a_killed_run_left_half_recorded_counts_by_its_alias(registry, listed):
    client = registry.client()
    client.set_registered_model_alias(NAME, "champion", "3")  # the tag lacks it, or names a version that never was
    client.set_registered_model_tag(NAME, "champions", listed)
    assert "version 1 is the champion again, instead of version 3" in said(registry, "rollback")
    assert client.get_registered_model(NAME).tags["champions"] == "1"


def test_a_champion_that_cannot_be_read_now_is_not_passed_over_by_a_rollback(registry):
    client = registry.client()
    away = client.create_model_version(NAME, "http://127.0.0.1:9/files")
    said(registry, "promote", "2")
    client.set_registered_model_tag(NAME, "champions", f"1 {away.version} 2")
    assert f"version {away.version} cannot be read now" in said(registry, "rollback", fails=True)
    assert champion_of(registry) == 2
    assert client.get_registered_model(NAME).tags["champions"] == f"1 {away.version} 2"
    client.delete_model_version(NAME, away.version)


def test_a_user_without_a_name_is_noted_by_number(registry, monkeypatch):
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 987654)  # as in a container
    said(registry, "promote", "2")
    assert "by hand (user 987654," in registry.client().get_model_version(NAME, "2").tags["decision"]


def test_without_an_earlier_champion_there_is_no_rollback(registry):
    assert "has had no other champion that is still there" in said(registry, "rollback", fails=True)
    assert champion_of(registry) == 1


def test_the_champion_is_not_promoted_twice(registry):
    assert "is the champion already" in said(registry, "promote", "1", fails=True)


def test_a_version_whose_files_are_gone_is_not_promoted(registry):
    source = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/2"))  # a folder: nothing is copied
    shutil.move(source, source.with_name("elsewhere"))
    try:
        assert "the files of unlabeled-digits version 2 no longer exist" in said(registry, "promote", "2", fails=True)
    finally:
        shutil.move(source.with_name("elsewhere"), source)
    assert champion_of(registry) == 1


@pytest.mark.parametrize("command", [["promote", "9"], ["compare", "1", "9"], ["compare", "nobody", "1"]])
def test_a_version_that_is_not_there_is_named(registry, command):
    assert "has no unlabeled-digits version" in said(registry, *command, fails=True)


@pytest.mark.parametrize("command", [["champion"], ["rollback"]])
def test_a_model_that_is_not_there_is_named(registry, command):
    assert "has no unlabeled-cats: it has unlabeled-digits (choose" in said(
        registry, *command, "--name=unlabeled-cats", fails=True
    )


def test_a_champion_with_another_plug_in_has_other_code(tmp_path):
    tags = (
        {COMMIT: "0" * 40},
        {COMMIT: "0" * 40, PLUGIN: "one 1.0, code 12"},
        {COMMIT: "0" * 40, PLUGIN: "one 1.0, code 34"},
    )
    ours, first, second = (SimpleNamespace(tags=each, version="1") for each in tags)
    assert review._code(tmp_path, ours, ours) == review._code(tmp_path, first, first) == []
    assert review._code(tmp_path, ours, first) == ["plug-in: none → one 1.0, code 12"]
    assert review._code(tmp_path, first, second) == ["plug-in: one 1.0, code 12 → one 1.0, code 34"]


def test_the_gates_champions_are_remembered_for_a_rollback(reviewed):
    assert reviewed.client().get_registered_model(NAME).tags["champions"].split()[0] == "1"


def test_an_accuracy_has_the_interval_of_its_own_effective_count():
    tags = {"linear_probe_accuracy": "0.8", "knn_accuracy": "0.8", "effective_tests": "50", "knn_effective_tests": "20"}
    for key, count in {"linear_probe_accuracy": 50, "knn_accuracy": 20}.items():
        low, high = wilson_interval(0.8, count)
        assert review._accuracy(tags, key) == f"80.0 [{100 * low:.1f}, {100 * high:.1f}]"
