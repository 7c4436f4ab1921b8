"""`kedro reproduce`: a version made again from what the registry, git and DVC know of it."""

import hashlib
import json
import shutil
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote, urlparse

import mlflow
import numpy as np
import pytest
from dvc.config import Config
from safetensors.numpy import save_file

from pipelines.clients.git import COMMIT, DIRTY
from pipelines.commands.reproduce import judge, libraries_that_differ, weights_that_differ
from pipelines.registry import versions as registry
from pipelines.registry.provenance import DATA, DIFF, MANIFEST, METRICS, PARAMETERS

NAME = "unlabeled-photos"


def record_of(version):
    """The folder of a version's record."""
    return Path(unquote(urlparse(version.source).path), "artifacts/record")


def digests_with(version, name):
    """The tag that fits a version whose record somebody has changed."""
    digest = hashlib.sha256((record_of(version) / name).read_bytes()).hexdigest()
    return json.dumps(json.loads(version.tags[registry.DIGESTS]) | {f"record/{name}": digest})


@pytest.fixture(scope="module")
def registered(tmp_path_factory, make_project):
    """A version of data that DVC tracks, made from a work tree with changes and with parameters of its own."""
    project = make_project(tmp_path_factory.mktemp("reproduce") / "project")
    project.track_data()
    project.photos(0, 300)
    project.set(ingestion={"source": "image_folder", "path": "data/01_raw/photos", "fraction": 1.0})
    for command in (["add", "data/01_raw/photos"], ["push"]):
        result = project.shell("dvc", *command)
        assert result.returncode == 0, result.stderr
    project.commit("data")
    project.set(evaluation={"draws": 3})  # not committed
    (project.path / ".env").write_text("PASSWORD=hunter2")
    (project.path / "conf/local").mkdir(exist_ok=True)
    (project.path / "conf/local/parameters.yml").write_text("pretraining: {batch_size: 48}\n")  # unknown to git
    result = project.kedro("--pipeline=byol", "--params=pretraining.seed=5")
    assert result.exit_code == 0, result.output
    return project


def test_a_version_carries_all_that_it_takes_to_make_it_again(registered):
    mlflow.set_tracking_uri(f"sqlite:///{registered.path / 'mlflow.db'}")
    version = registered.client().get_model_version(NAME, "1")
    known = version.tags
    assert known[DIRTY] == "true" and known["seed"] == "5" and len(known[COMMIT]) == 40
    assert registry.recorded(version, DATA).keys() == {"data/01_raw/photos.dvc"}
    assert {"torch", "numpy"} <= json.loads(known["libraries"]).keys() and known["python"]
    assert {"device", "cpu", "threads"} <= json.loads(known["hardware"]).keys()
    assert registry.recorded(version, PARAMETERS) and registry.recorded(version, MANIFEST) is not None
    changed = registry.recorded(version, DIFF)
    assert b"draws: 3" in changed and b"batch_size: 48" not in changed and b"hunter2" not in changed


def test_it_comes_out_the_same_from_the_remote_after_everything_here_has_changed(registered):
    shutil.rmtree(registered.path / ".dvc/cache")
    shutil.rmtree(registered.path / "data/01_raw/photos/3")
    (registered.path / "conf/local/parameters.yml").unlink()
    subprocess.run(["git", "checkout", "-q", "--", "conf"], cwd=registered.path, check=True)
    config = registered.path / ".dvc/config"  # since then the remote has another name, and one more came
    config.write_text(config.read_text().replace("store", "storage"))
    registered.shell("dvc", "remote", "add", "bucket", "s3://bucket/data")
    registered.shell("dvc", "remote", "modify", "--local", "bucket", "endpointurl", "http://127.0.0.1:9")
    result = registered.shell("kedro", "reproduce", "--version=champion", OMP_NUM_THREADS="1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "weights and metrics are identical, bit for bit" in result.stdout
    assert list(registered.path.parent.iterdir()) == [registered.path]  # the second work tree is gone
    assert len(registered.client().search_model_versions(f"name='{NAME}'")) == 1  # and the registry as it was


def test_what_is_not_the_same_is_named(registered):
    client, version = registered.client(), registered.client().get_model_version(NAME, "1")
    file = record_of(version) / PARAMETERS
    parameters = json.loads(file.read_text())
    parameters["pretraining"]["seed"] = parameters["byol"]["pretraining"]["seed"] = 6
    file.write_text(json.dumps(parameters))
    for key, value in {
        "libraries": json.dumps({"torch": "1.0"}),
        "trained_with": "another",
        registry.DIGESTS: digests_with(version, PARAMETERS),
    }.items():
        client.set_model_version_tag(NAME, "1", key, value)
    refused = registered.shell("kedro", "reproduce", "--version=1")
    assert refused.returncode == 1 and "was not made by you on this machine" in refused.stderr
    result = registered.shell("kedro", "reproduce", "--version=1", "--keep", "--yes", OMP_NUM_THREADS="1")
    assert "weights: " in result.stdout and "tensors differ" in result.stdout, result.stdout + result.stderr
    assert "seed: 5 was recorded, 6 is found" in result.stdout and "recorded is 1.0" in result.stdout
    assert "the weights were trained with another" in result.stdout and "identical" not in result.stdout
    tree = registered.path.with_name(f"project-{NAME}-1")
    assert (tree / "data/06_models/byol/encoder.safetensors").exists()
    told = Config(str(tree / ".dvc"))
    assert told["core"]["remote"] == "storage" and told["remote"]["bucket"]["endpointurl"] == "http://127.0.0.1:9"
    again = registered.command("reproduce", "--version=1", "--yes")
    assert again.exit_code == 1 and "is there already" in again.output


def test_a_changed_record_is_refused_before_anything_runs(registered):
    version = registered.client().get_model_version(NAME, "1")
    for name in (DIFF, PARAMETERS, METRICS, DATA):
        file = record_of(version) / name
        before = file.read_bytes()
        file.write_bytes(before + b"\n")
        result = registered.command("reproduce", "--version=1", "--yes")
        file.write_bytes(before)
        said = " ".join(result.output.split())
        assert result.exit_code == 1 and name in said and "damaged or another" in said, said
        assert "checked out" not in said and "Traceback" not in said


@pytest.mark.parametrize(
    "tag, value, expected",
    [
        (COMMIT, "--output=/tmp/x", "expected 40 or 64 hexadecimal digits"),
        (COMMIT, "HEAD", "expected 40 or 64 hexadecimal digits"),
        ("method", "byol --env=x", "expected one of byol"),
        ("hardware", "[", "its tag hardware is '[', expected a JSON object"),
        (registry.DIGESTS, "[1]", "expected a JSON object"),
        ("code", "another", "are not those that it was made with"),
        (registry.DIGESTS, json.dumps({"record/another": ""}), "was not registered with it"),
    ],
)
def test_tags_that_are_none_of_ours_are_refused(registered, tag, value, expected):
    client, version = registered.client(), registered.client().get_model_version(NAME, "1")
    other = f"other-{abs(hash((tag, value)))}"
    client.create_registered_model(other)
    client.create_model_version(other, version.source, tags=version.tags | {tag: value})
    result = registered.command("reproduce", "--version=1", f"--name={other}", "--yes")
    said = " ".join(result.output.split())
    assert result.exit_code == 1 and expected in said and "Traceback" not in said, said


def test_data_that_are_not_the_commits_are_refused(registered):
    client, version = registered.client(), registered.client().get_model_version(NAME, "1")
    file = record_of(version) / DATA
    before = file.read_bytes()
    file.write_text(json.dumps({"--remote=elsewhere": "0" * 32}))
    client.create_registered_model("data")
    tags = version.tags | {registry.DIGESTS: digests_with(version, DATA)}
    client.create_model_version("data", version.source, tags=tags)
    result = registered.command("reproduce", "--version=1", "--name=data", "--yes")
    file.write_bytes(before)
    assert result.exit_code == 1 and "are not those that the commit and its changes name" in " ".join(
        result.output.split()
    )


MEASURED = {"data_digest": "1", "linear_probe_accuracy": 0.9, "knn_accuracy": 0.9}
NO_LABELS = {"linear_probe_accuracy": None, "knn_accuracy": None}


@pytest.mark.parametrize(
    "ground, changed, close",
    [
        (["libraries: torch 2, recorded is 1"], {"knn_accuracy": 0.89}, True),
        (["libraries: torch 2, recorded is 1"], {"knn_accuracy": 0.8}, False),
        (["libraries: torch 2, recorded is 1"], {"data_digest": "2"}, False),
        ([], {"knn_accuracy": 0.89}, False),
    ],
)
def test_only_other_libraries_or_hardware_excuse_a_difference(ground, changed, close):
    verdict = judge(["weights: 2 of 3 tensors differ"], ["metrics"], ground, MEASURED, MEASURED | changed, [])
    assert not verdict.identical and verdict.close == close


def test_weights_of_another_shape_are_told_apart(tmp_path):
    files = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for file, channels in zip(files, (2, 3, 3), strict=True):
        save_file({"weight": np.ones((channels, 4), np.float32)}, file)
    assert weights_that_differ(*files[:2]) == ["weights: the networks are not of the same shape"]
    assert weights_that_differ(*files[1:]) == []


def test_without_labels_nothing_is_called_close():
    metrics = MEASURED | NO_LABELS
    verdict = judge(["weights: 2 of 3 tensors differ"], [], ["libraries: torch 2, recorded is 1"], metrics, metrics, [])
    assert not verdict.close and "there are no labels to say how close it has come" in verdict.differences[-1]
    assert judge([], [], [], metrics, metrics, []) == (True, False, [])


def test_the_libraries_are_those_of_the_interpreter_that_ran(tmp_path):
    recorded = {"libraries": json.dumps({"numpy": version("numpy"), "torch": version("torch")})}
    assert libraries_that_differ(recorded, sys.executable) == []
    venv.create(tmp_path / "bare")
    told = libraries_that_differ(recorded, str(tmp_path / "bare/bin/python"))
    assert told[0] == f"libraries: numpy None, recorded is {version('numpy')}" and len(told) == 2


def test_a_commit_that_is_not_here_is_named(registered):
    client, bare = registered.client(), "of-another-clone"
    client.create_registered_model(bare)
    source = client.get_model_version(NAME, "1").source
    client.create_model_version(bare, source, tags={COMMIT: "0" * 40, DIRTY: "false", "method": "byol"})
    result = registered.command("reproduce", "--version=1", f"--name={bare}")
    output = " ".join(result.output.split())
    assert result.exit_code == 1 and "is not in this repository" in output and "fetch it first" in output


@pytest.mark.parametrize("version, expected", [("7", "has no unlabeled-photos version 7"), ("nobody", "nobody")])
def test_a_version_that_is_not_there_is_named(registered, version, expected):
    result = registered.command("reproduce", f"--version={version}")
    assert result.exit_code == 1 and expected in " ".join(result.output.split())


def test_a_version_without_a_record_says_what_it_lacks(registered):
    client = registered.client()
    client.create_registered_model("bare")
    client.create_model_version("bare", str(registered.path))
    result = registered.command("reproduce", "--version=1", "--name=bare")
    assert result.exit_code == 1 and "it has no tag git_dirty, method, mlflow.source.git.commit" in result.output
