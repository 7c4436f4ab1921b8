import json

import mlflow
import pytest

from pipelines.registry.provenance import PARAMETERS
from pipelines.registry.starts import for_work_tree
from pipelines.registry.versions import recorded

NAME = "unlabeled-digits"


@pytest.fixture(scope="module")
def started(tmp_path_factory, trained):
    """A project in which SimCLR has gone on with the champion's encoder."""
    project = trained.copy(tmp_path_factory.mktemp("started") / "project")
    result = project.kedro("--pipeline=simclr", f"--params=pretraining.weights=models:/{NAME}@champion")
    assert result.exit_code == 0, result.output
    return project, result.output


def test_a_training_goes_on_with_a_version_of_the_registry(started):
    project, output = started
    champion = project.client().get_model_version(NAME, "1")
    run = json.loads((project.path / "data/06_models/simclr/run.json").read_text())
    assert run["start"] == champion.tags["weights"] != run["weights"]
    assert "tensors matched" in " ".join(output.split())


def test_the_new_version_says_what_it_started_from_by_number_and_digest(started):
    project, _ = started
    mlflow.set_tracking_uri(f"sqlite:///{project.path / 'mlflow.db'}")
    first, second = (project.client().get_model_version(NAME, number) for number in ("1", "2"))
    assert second.tags["start"] == first.tags["weights"] and "start" not in first.tags
    assert recorded(second, PARAMETERS)["simclr"]["pretraining"]["weights"] == f"models:/{NAME}/1"


def test_a_reproduction_elsewhere_starts_from_the_same_files(started):
    project, _ = started
    mlflow.set_tracking_uri(f"sqlite:///{project.path / 'mlflow.db'}")
    (project.path / "start.safetensors").write_bytes(b"")
    parameters = {
        "pretraining": {"weights": "start.safetensors"},
        "simclr": {"pretraining": {"weights": f"models:/{NAME}/1", "epochs": 1}},
        "byol": {"pretraining": {"weights": "pretrained"}},
        "dino": {"pretraining": {"weights": None}},
    }
    changed = for_work_tree(parameters, project.path)
    assert changed["pretraining"]["weights"] == str(project.path / "start.safetensors")
    assert (
        changed["simclr"]["pretraining"]["weights"].endswith("/model")
        and changed["simclr"]["pretraining"]["epochs"] == 1
    )
    assert changed["byol"] == parameters["byol"] and changed["dino"] == parameters["dino"]


@pytest.mark.parametrize(
    "weights, expected",
    [
        ("models:/nobody@champion", "has no nobody version champion"),
        (f"models:/{NAME}", "expected models:/name@alias or models:/name/number"),
        ("none.safetensors", "which does not exist; expected null, pretrained, a file"),
    ],
)
def test_a_start_that_is_not_there_is_refused_before_any_work(project, weights, expected):
    result = project.kedro("--pipeline=byol", f"--params=pretraining.weights={weights}")
    assert result.exit_code == 1 and expected in " ".join(result.output.split())
    assert not (project.path / "data/02_intermediate").exists()


def test_a_method_of_texts_starts_from_no_weights(project):
    result = project.kedro("--pipeline=gpt", "--params=gpt.pretraining.weights=pretrained")
    assert result.exit_code == 1 and "only methods of images start from weights" in " ".join(result.output.split())
