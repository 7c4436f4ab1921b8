"""The reporting stage as every kind of data shares it."""

import logging
import os
import shlex
from pathlib import Path
from typing import Any

import mlflow
from mlflow.tracking import MlflowClient

from pipelines.clients.git import COMMIT, DIRTY
from pipelines.clients.store import database_uri
from unlabeled.config import in_words

logger = logging.getLogger(__name__)

TAGS = {
    "git commit": COMMIT,
    "uncommitted changes": DIRTY,
    "data digest": "data_digest",
    "made on": "hostname",
}
"""What a page tells of its MLflow run, and the tag that holds it."""


GIVEN = ("manifest", "summary", "quarantine", "features", "probe", "metrics", "predictions", "history", "run")
GIVEN += ("version", "params:ingestion", "params:augmentation", "params:pretraining")
GIVEN += ("params:evaluation", "params:registration")
"""Inputs of the stage for every kind of data; each kind adds its own."""


def provenance_of(run: dict[str, Any], version: dict[str, Any]) -> dict[str, str]:
    """What is needed to repeat a run, by name."""
    tags = MlflowClient().get_run(mlflow.active_run().info.run_id).data.tags
    provenance = {name: tags[tag] for name, tag in TAGS.items() if tag in tags}
    provenance |= {"MLflow run": run["run_id"], "seed": str(run["seed"]), "command": tags.get("command", "")}
    return provenance | {"registered as": f"{version['name']} version {version['version']}: {version['reason']}"}


def standing_of(version: dict[str, Any]) -> str:
    """What the gate made of a run, in sentences."""
    became = "It became the champion" if version["champion"] else "It is a challenger"
    return " ".join(filter(None, [f"{became}: {version['reason']}.", version["selection"]]))


def tell(method: str, summary: dict[str, Any], metrics: dict[str, Any], version: dict[str, Any], folder: Path) -> None:
    """What the encoder is worth, the numbers that matter, and where to read on."""
    standing = "the champion" if version["champion"] else "a challenger"
    start = f"{method} on {summary['source']}, {standing}: {version['verdict']}"
    logger.info("%s; %s", start, _numbers(metrics))
    logger.info("its page: %s", Path(os.path.relpath(folder)) / method / "report.html")
    logger.info("all runs: %s", _where_runs_are())


def _numbers(metrics: dict[str, Any]) -> str:
    """The three numbers that matter."""
    if metrics["linear_probe_accuracy"] is None:
        return f"embedding std {metrics['embedding_std']:.2f}, RankMe {metrics['rankme']:.2f}"
    few = [f"{in_words(setting)} {each['mean']:.1%}" for setting, each in metrics["few_label"].items()][:1]
    rest = [f"linear probe {metrics['linear_probe_accuracy']:.1%}", f"kNN {metrics['knn_accuracy']:.1%}"]
    return ", ".join(few + rest)


def _where_runs_are() -> str:
    """The server's address, or the command that serves a database, relative to the project where it is its own."""
    uri = mlflow.get_tracking_uri()
    if uri.startswith("http"):
        return uri
    here = uri == database_uri(Path("mlflow.db").resolve())
    return f"mlflow ui --backend-store-uri {'sqlite:///mlflow.db' if here else shlex.quote(uri)}"
