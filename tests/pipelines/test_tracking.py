"""Metrics on their way to a store, and to a server that is away."""

import shutil
import time
from functools import partial

import pytest
from mlflow import MlflowClient

from pipelines.clients import tracking


@pytest.fixture
def tracks_at(monkeypatch):
    """A function that changes the store of metrics, for this test alone."""
    return lambda uri: monkeypatch.setattr(tracking, "MlflowClient", partial(MlflowClient, uri))


def test_what_a_server_that_is_away_costs_is_a_part_of_the_training(tracks_at, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    tracks_at("http://127.0.0.1:9")  # where nobody listens
    report = tracking.LiveMetrics("a run", every_seconds=0.0)
    began = time.monotonic()
    report({"loss": 1.0}, 0)
    once = time.monotonic() - began
    for step in range(1, 5):
        report({"loss": 1.0}, step)
    assert time.monotonic() - began < once + 1 and once > 1  # of its tries


def test_metrics_arrive_in_order_and_without_those_that_were_not_measured(tracks_at, database, tmp_path):
    uri = f"sqlite:///{shutil.copy(database, tmp_path)}"
    tracks_at(uri)
    client = MlflowClient(uri)
    run = client.create_run("0").info.run_id
    with tracking.LiveMetrics(run, every_seconds=1e6) as report:
        for step in range(3):
            report({"loss": float(step), "accuracy": None}, step)
    assert [(each.step, each.value) for each in client.get_metric_history(run, "loss")] == [(0, 0), (1, 1), (2, 2)]
