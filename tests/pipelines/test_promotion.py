"""The gate, on a registry in SQLite with real encoders in it."""

import mlflow
import numpy as np
import pandas as pd
import pytest

from pipelines.promotion import judge
from unlabeled.config import Evaluation, Pretraining, Registration

NAME = "unlabeled-digits"
PROTOCOL = Evaluation(draws=2, shots=(1, 5), fractions=(0.1,), regularisation=(0.01, 0.1))
"""That of the trained project."""


@pytest.fixture
def verdict(trained):
    """A function from changed metrics and tags to (promoted, reason), against the champion of the trained project."""
    mlflow.set_tracking_uri(f"sqlite:///{trained.path / 'mlflow.db'}")
    images = np.load(trained.path / "data/02_intermediate/images.npy")
    manifest = pd.read_parquet(trained.path / "data/02_intermediate/manifest.parquet")
    measured = trained.json("data/08_reporting/byol/metrics.json")

    def judged(name=NAME, config=None, tags=None, **metrics):
        given = {"data_digest": measured["data_digest"], "protocol": PROTOCOL.digest()} | (tags or {})
        compared = (images, manifest, given, Pretraining(), PROTOCOL, config or Registration())
        return judge(mlflow.MlflowClient(), name, measured | metrics, *compared)

    judged.score = measured["linear_probe_accuracy"]
    return judged


def test_the_first_is_the_champion(verdict):
    assert verdict("unlabeled-nothing-yet") == (True, "there was no champion")


def test_a_tie_keeps_the_champion(verdict):
    promoted, reason = verdict(linear_probe_accuracy=verdict.score)
    assert not promoted and f"{verdict.score:.4f} against {verdict.score:.4f} of version 1" in reason


@pytest.mark.parametrize("gain, promoted", [(0.001, True), (-0.001, False)])
def test_the_better_one_wins(verdict, gain, promoted):
    assert verdict(linear_probe_accuracy=verdict.score + gain)[0] is promoted


@pytest.mark.parametrize("gain, promoted", [(0.02, True), (0.005, False)])
def test_it_has_to_be_better_by_as_much_as_asked(verdict, gain, promoted):
    assert verdict(config=Registration(min_gain=0.01), linear_probe_accuracy=verdict.score + gain)[0] is promoted


def test_a_collapsed_encoder_is_never_promoted(verdict):
    promoted, reason = verdict(linear_probe_accuracy=1.0, embedding_std=0.01)
    assert not promoted and "collapsed" in reason


def test_without_labels_the_champion_stays(verdict):
    promoted, reason = verdict(linear_probe_accuracy=None)
    assert not promoted and "without labels" in reason


@pytest.mark.parametrize("tags", [{"data_digest": "another"}, {"protocol": "another"}])
def test_on_other_data_or_by_another_protocol_the_champion_is_measured_again(verdict, tags):
    promoted, reason = verdict(tags=tags, linear_probe_accuracy=verdict.score + 0.001)
    assert promoted and reason.endswith("of version 1, measured again on today's data and protocol")
    assert f"against {verdict.score:.4f}" in reason  # the data are the same in truth, and so is the number


def test_the_protocol_is_the_same_only_where_all_of_it_is():
    assert Evaluation().digest() == Evaluation().digest()
    assert Evaluation().digest() != Evaluation(knn_k=21).digest()
