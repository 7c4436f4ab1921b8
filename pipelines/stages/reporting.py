"""The reporting stage, as far as all kinds of data share it."""

import logging
import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
from mlflow.tracking import MlflowClient

from pipelines.clients.git import COMMIT, DIRTY
from pipelines.clients.store import database_uri
from pipelines.clients.tracking import active_run_id
from pipelines.registry.notes import describe_run
from pipelines.registry.provenance import PLUGIN
from pipelines.stages.freshness import check_metrics_current
from unlabeled.config import in_words
from unlabeled.records import Metrics, RunRecord, Version
from unlabeled.reports.evidence import Evidence

logger = logging.getLogger(__name__)

TAGS = {
    "git commit": COMMIT,
    "uncommitted changes": DIRTY,
    "plug-in": PLUGIN,
    "data digest": "data_digest",
    "made on": "hostname",
}
"""Lines of a page about its MLflow run, and the tag that holds each."""


def build_page(evidence: Evidence, build: Callable[[Any], str], folder: Path) -> str:
    """Builds the page of a run, and logs the encoder's verdict and the path of the page."""
    check_metrics_current(evidence.metrics, evidence.summary, evidence.evaluation, evidence.run)
    page = build(replace(evidence, provenance=_provenance(evidence.run, evidence.version)))
    _log_result(evidence, folder)
    return page


def _provenance(run: RunRecord, version: Version) -> dict[str, str]:
    """Lines of the page about the origin of a run, by name."""
    tags = MlflowClient().get_run(active_run_id()).data.tags
    provenance = {name: tags[tag] for name, tag in TAGS.items() if tag in tags}
    provenance |= {"MLflow run": run["run_id"], "seed": str(run["seed"]), "command": tags.get("command", "")}
    registered = f"{version['name']} version {version['version']}" if version["version"] else "nothing"
    return provenance | {"registered as": f"{registered}: {version['reason']}"}


def _log_result(evidence: Evidence, folder: Path) -> None:
    """Logs the verdict, the main numbers, and the addresses of the page and of MLflow."""
    method, version = evidence.run["method"], evidence.version
    standing = "the champion" if version["champion"] else "a challenger" if version["version"] else "not registered"
    epochs = f" after {evidence.trained}" if evidence.trained else ""
    start = f"{method} on {evidence.summary['source']}{epochs}, {standing}: {version['verdict']}"
    result = f"{start}; {_numbers(evidence.metrics)}"
    logger.info("%s", result)
    describe_run(result, version)
    logger.info("its page: %s", Path(os.path.relpath(folder)) / method / "report.html")
    logger.info("all runs: %s", _where_runs_are())


def _numbers(metrics: Metrics) -> str:
    """The main numbers in words: accuracies, or embedding std and RankMe where there are no labels."""
    if metrics["linear_probe_accuracy"] is None:
        return f"embedding std {metrics['embedding_std']:.2f}, RankMe {metrics['rankme']:.2f}"
    few = [f"{in_words(setting)} {each['mean']:.1%}" for setting, each in metrics["few_label"].items()][:1]
    rest = [f"linear probe {metrics['linear_probe_accuracy']:.1%}", f"kNN {metrics['knn_accuracy']:.1%}"]
    return ", ".join(few + rest)


def _where_runs_are() -> str:
    """The server's address, or the command that serves the database; the project's own has a relative path."""
    uri = mlflow.get_tracking_uri()
    if uri.startswith("http"):
        return uri
    here = uri == database_uri(Path("mlflow.db").resolve())
    return f"mlflow ui --backend-store-uri {'sqlite:///mlflow.db' if here else shlex.quote(uri)}"
