"""Writes a page that compares the latest run of each method and source in an MLflow experiment."""

import logging
import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import mlflow
import pandas as pd
from kedro.pipeline import Pipeline
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from pipelines.clients.tracking import active_run_id
from pipelines.datasets.files import ParquetDataset, read_json
from pipelines.stages.stage import stage
from unlabeled.catalogue import METHODS
from unlabeled.errors import UnlabeledError
from unlabeled.runtime.masking import masked

logger = logging.getLogger(__name__)

FILES = ("metrics.json", "predictions.parquet", "summary.json")
"""Artifacts of a run that the page reads."""
PAGE, HISTORY = "report.html", "history.csv"
MAX_RUNS = 5_000
"""Largest number of runs that are read, the latest first."""


def leaderboard(folder: Path) -> str:
    from unlabeled.reports.leaderboard import build_leaderboard  # imports matplotlib

    client = MlflowClient()
    experiment = client.get_experiment(client.get_run(active_run_id()).info.experiment_id)
    sources: dict[str, list[Any]] = {}
    for run in _latest(client, experiment.experiment_id):
        entry = _entry(client, run, folder)
        if entry:
            sources.setdefault(run.data.tags["source"], []).append(entry)
    if not sources:
        raise UnlabeledError(
            f"the experiment {experiment.name!r} at {mlflow.get_tracking_uri()} has no finished run of a method with "
            f"its metrics yet: run kedro run --pipeline=byol first"
        )
    runs = sum(map(len, sources.values()))
    logger.info("runs of %s: %d; the page: %s", ", ".join(sources), runs, os.path.relpath(folder / "leaderboard.html"))
    return build_leaderboard(experiment.name, sources)


def _latest(client: MlflowClient, experiment: str) -> list[Run]:
    """The latest finished run of each method on each data set."""
    runs = client.search_runs([experiment], "attributes.status = 'FINISHED'", max_results=MAX_RUNS)
    found: dict[tuple[str, ...], Run] = {}
    for run in runs:  # the latest first
        key = tuple(run.data.tags.get(tag, "") for tag in ("source", "data_digest", "method"))
        if all(key) and key[2] in METHODS:
            found.setdefault(key, run)
    return list(found.values())


def _entry(client: MlflowClient, run: Run, folder: Path) -> Any:
    """The page's entry for a run; None where artifacts are missing: it was not evaluated, or by an older release."""
    from unlabeled.reports.leaderboard import Entry

    artifacts = {each.path for each in client.list_artifacts(run.info.run_id)}
    if not {*FILES} <= artifacts:
        return None
    with tempfile.TemporaryDirectory() as place:
        try:
            metrics, predictions, summary, *history = (
                Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=name, dst_path=place))
                for name in (*FILES, *({HISTORY} & artifacts))
            )
        except MlflowException as error:
            logger.warning("run %s is left out: its artifacts cannot be read (%s)", run.info.run_id, error)
            return None
        read = read_json(summary)
        return Entry(
            method=run.data.tags["method"],
            metrics=read_json(metrics),
            predictions=ParquetDataset(str(predictions)).load(),
            classes=len(read["classes"]),
            labelled=round(read["splits"].get("train", 0) * read["labelled"] / sum(read["splits"].values())),
            link=_link(run, folder) if PAGE in artifacts else "",
            epochs=int(pd.read_csv(history[0]).epoch.max()) if history else None,
        )


def _link(run: Run, folder: Path) -> str:
    """The address of the run's own page: a relative path where artifacts are files, else on the tracking server."""
    address = urlparse(run.info.artifact_uri)
    if address.scheme in ("", "file"):
        return Path(os.path.relpath(Path(unquote(address.path)) / PAGE, folder)).as_posix()
    server = masked(mlflow.get_tracking_uri())
    return f"{server}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/{PAGE}"


def create_pipeline() -> Pipeline:
    return stage("leaderboard", leaderboard, "leaderboard_page", folder="reporting_folder")
