"""Cleans up MLflow after killed runs: the next run of the same project on this machine does it."""

import logging
import socket
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

logger = logging.getLogger(__name__)

HOST, PROJECT = "hostname", "project_path"
"""Tags that every run has from its creation on: its machine, and its project folder."""
RERUN = "rerun."
"""Prefix of the tags of a run that continues the MLflow run of its training."""


def mark_killed_runs(project: Path, experiment: str) -> None:
    """Marks runs of this project that are still RUNNING as KILLED. The caller holds the lock, so none of them is alive.

    Args:
        experiment: The id of the MLflow experiment.
    """
    client = MlflowClient()
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        tags = run.data.tags
        if (tags.get(RERUN + HOST, tags.get(HOST)), tags.get(PROJECT)) == (socket.gethostname(), project.as_posix()):
            delete_unregistered_models(client, run)
            client.set_terminated(run.info.run_id, "KILLED")


def end_as_killed() -> None:
    """Ends the active run, if there is one, as KILLED."""
    if run := mlflow.active_run():
        delete_unregistered_models(MlflowClient(), run)
        mlflow.end_run("KILLED")


def delete_unregistered_models(client: MlflowClient, run: Run) -> None:
    """Deletes the models that a run has logged without registering them, and their files."""
    experiment, run_id = run.info.experiment_id, run.info.run_id
    logged = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    versions = client.search_model_versions(f"run_id = '{run_id}'") if logged else []
    kept = {each.model_id for each in versions} | {each.source for each in versions}
    for model in logged:
        if not kept & {model.model_id, model.artifact_location}:
            try:
                get_artifact_repository(model.artifact_location).delete_artifacts()
            except Exception as error:  # each kind of store raises its own
                logger.warning("the files of a killed registration stay in %s: %s", model.artifact_location, error)
            client.delete_logged_model(model.model_id)
