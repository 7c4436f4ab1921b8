"""The gate, on a registry in SQLite with real encoders in it."""

import shutil

import mlflow
import numpy as np
import pandas as pd
import pytest

from pipelines import registry
from pipelines.promotion import ATTEMPTS, Decision, contest, judge
from unlabeled.config import Evaluation, Pretraining, Registration

NAME = "unlabeled-digits"
PROTOCOL = Evaluation(draws=2, shots=(1, 5), fractions=(0.1,), regularisation=(0.01, 0.1))
"""That of the trained project."""
AS_SURE = Registration(level=0.9, max_class_drop=1.0)
"""A gate that a better guess passes."""


@pytest.fixture
def gate(trained):
    """A function from changed answers, metrics and tags to a decision, against the champion of the trained project."""
    mlflow.set_tracking_uri(f"sqlite:///{trained.path / 'mlflow.db'}")
    images = np.load(trained.path / "data/02_intermediate/images.npy")
    manifest = pd.read_parquet(trained.path / "data/02_intermediate/manifest.parquet")
    classes = trained.json("data/02_intermediate/summary.json")["classes"]
    measured = trained.json("data/08_reporting/byol/metrics.json")

    def judged(answers=None, name=NAME, config=None, tags=None, **metrics):
        given = {"data_digest": measured["data_digest"], "protocol": PROTOCOL.digest()} | (tags or {})
        compared = (images, manifest, classes, given, Pretraining(), PROTOCOL, config or Registration())
        answers = judged.answers if answers is None else answers
        return judge(registry.champion(mlflow.MlflowClient(), name), measured | metrics, answers, *compared)

    judged.answers = pd.read_parquet(trained.path / "data/08_reporting/byol/predictions.parquet")
    judged.score = measured["linear_probe_accuracy"]
    return judged


def mended(answers, count=None):
    """Answers of which the first `count` wrong ones (all, where not given) are right."""
    wrong = np.flatnonzero(answers.target != answers.predicted)[:count]
    return answers.assign(predicted=answers.predicted.where(~answers.index.isin(answers.index[wrong]), answers.target))


def spoiled(answers, target):
    """Answers that are wrong about every image of a class."""
    return answers.assign(predicted=answers.predicted.where(answers.target != target, (target + 1) % 10))


def test_the_first_is_the_champion(gate):
    assert gate(name="unlabeled-nothing-yet")[:2] == (True, "there was no champion")


def test_a_tie_keeps_the_champion(gate):
    promoted, reason, numbers, _ = gate()
    assert not promoted and f"{gate.score:.4f} against {gate.score:.4f} of version 1" in reason
    assert numbers["gate.difference"] == 0 and numbers["gate.p_value"] == 1 and numbers["gate.worst_drop"] == 0


def test_who_is_surely_better_wins(gate):
    promoted, reason, numbers, _ = gate(mended(gate.answers))
    assert promoted and reason.startswith(f"linear probe 1.0000 against {gate.score:.4f} of version 1: +")
    assert numbers["gate.p_value"] < 0.05 and numbers["gate.low"] > 0


def test_who_may_be_better_by_chance_does_not(gate):
    promoted, reason, *_ = gate(mended(gate.answers, 1))
    assert not promoted and "which is not surely better (registration.level=0.05)" in reason
    assert gate(mended(gate.answers, 1), config=AS_SURE).promoted


def test_without_labels_people_decide(gate):
    promoted, reason, *_ = gate(gate.answers.iloc[:0], config=AS_SURE)
    assert not promoted and reason.startswith("without labels it cannot be compared with version 1: kedro promote")


def test_who_is_worse_does_not_even_where_nothing_has_to_be_sure(gate):
    assert not gate(spoiled(gate.answers, 3), config=AS_SURE).promoted


def test_who_is_better_but_worse_on_a_class_does_not(gate):
    wrong = gate.answers.target[gate.answers.target != gate.answers.predicted]
    answers = mended(gate.answers)
    victim = answers.index[~answers.target.isin(wrong)][0]
    answers.loc[victim, "predicted"] = (answers.target[victim] + 1) % 10
    strict, lenient = (Registration(level=0.99, max_class_drop=drop) for drop in (0.0, 1.0))
    promoted, reason, numbers, _ = gate(answers, config=strict)
    assert numbers["gate.difference"] > 0 and numbers["gate.worst_class"] == str(answers.target[victim])
    assert not promoted and f"but {answers.target[victim]} is told" in reason and "max_class_drop=0)" in reason
    assert gate(answers, config=lenient).promoted


def test_a_collapsed_encoder_is_never_promoted(gate):
    promoted, reason, *_ = gate(mended(gate.answers), embedding_std=0.01)
    assert not promoted and "collapsed" in reason


def test_without_labels_the_champion_stays(gate):
    promoted, reason, *_ = gate(gate.answers.iloc[:0])
    assert not promoted and "without labels" in reason


@pytest.mark.parametrize("tags", [{"data_digest": "another"}, {"protocol": "another"}])
def test_on_other_data_or_by_another_protocol_the_champion_is_measured_again(gate, tags):
    promoted, reason, *_ = gate(mended(gate.answers), tags=tags)
    assert promoted and "of version 1, measured again on today's data and protocol" in reason
    assert f"against {gate.score:.4f}" in reason  # the data are the same in truth, and so is the number


@pytest.fixture
def other_champion(gate, tmp_path, request):
    """A function that gives a copy of the champion's files, in a folder that may be changed, a registered model."""
    client, name = mlflow.MlflowClient(), f"copy-{request.node.name}"
    files = mlflow.artifacts.download_artifacts(f"models:/{NAME}/1")
    shutil.copytree(files, tmp_path / "copy")
    client.create_registered_model(name)
    client.create_model_version(name, str(tmp_path / "copy"), tags={"data_digest": "another"})
    client.set_registered_model_alias(name, "champion", "1")
    return name, tmp_path / "copy/artifacts/model"


def test_a_damaged_champion_stays(gate, other_champion):
    name, folder = other_champion
    weights = folder / "encoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    promoted, reason, *_ = gate(mended(gate.answers), name=name)
    assert not promoted and "version 1 stays, for it could not be measured" in reason and "encoder" in reason


def test_a_champion_whose_store_is_away_stays(gate, other_champion):
    name, folder = other_champion
    client = mlflow.MlflowClient()
    away = client.create_model_version(name, "http://127.0.0.1:9/files", tags={"data_digest": "another"})
    client.set_registered_model_alias(name, "champion", away.version)
    promoted, reason, *_ = gate(mended(gate.answers), name=name)
    assert not promoted and "version 2 stays" in reason and "cannot be had now" in reason


def test_a_champion_whose_files_are_gone_does_not(gate, other_champion):
    name, folder = other_champion
    shutil.rmtree(folder)
    promoted, reason, *_ = gate(gate.answers, name=name)
    assert promoted and reason == f"the files of {name} version 1 cannot be had: they are gone"


def test_a_champion_of_images_with_other_channels_does_not(gate, other_champion):
    from unlabeled.encoders import ImageEncoder, Normalisation

    name, folder = other_champion
    ImageEncoder("small_resnet", 3, 8, Normalisation((0.5,) * 3, (0.5,) * 3)).save(folder / "encoder.safetensors")
    promoted, reason, *_ = gate(gate.answers, name=name)
    assert promoted and reason == "version 1 is of images with 3 channels, and today's have 1"


def contested(name, meanwhile):
    """The decisions on version 3 of a new model, as they were noted; `meanwhile` runs after the n-th judgement."""
    client, noted, against = mlflow.MlflowClient(), [], []
    client.create_registered_model(name)
    for _ in range(6):
        client.create_model_version(name, "nowhere")

    def judged(champion):
        against.append(champion and str(champion.version))
        meanwhile(client, len(against))
        return Decision(True, f"better than {against[-1]}")

    contest(client, name, "3", judged, noted.append)
    return against, noted, str(registry.champion(client, name).version)


def test_a_champion_that_another_machine_crowned_meanwhile_is_judged_against_as_well(gate):
    name = "crowned-meanwhile"
    against, noted, champion = contested(name, lambda client, n: n == 1 and registry.crown(client, name, "2"))
    assert against == [None, "2"] and champion == "3" and noted[-1].reason == "better than 2"
    assert registry.reigns(mlflow.MlflowClient(), name) == ["2", "3"]


def test_where_the_champion_never_stays_the_same_the_challenger_gives_up(gate):
    name = "crowned-all-the-time"
    against, noted, champion = contested(name, lambda client, n: registry.crown(client, name, str(3 + n)))
    assert len(against) == ATTEMPTS and champion == str(3 + ATTEMPTS)
    assert not noted[-1].promoted and "others became champion each time" in noted[-1].reason


def test_the_protocol_is_the_same_only_where_all_of_it_is():
    assert Evaluation().digest() == Evaluation().digest()
    assert Evaluation().digest() != Evaluation(knn_k=21).digest()
