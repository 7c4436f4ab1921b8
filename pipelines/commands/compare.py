"""Compares methods on one source: trains each in its own process, and draws a leaderboard."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from kedro.pipeline import Pipeline

from pipelines.clients.tracking import active_run_id
from pipelines.datasets.files import read_json
from pipelines.images import augmentation, ingestion
from pipelines.stages.freshness import WEIGHTS
from pipelines.stages.stage import stage
from unlabeled.catalogue import IMAGE_METHODS
from unlabeled.config import Augmentation, Compare, Evaluation, Pretraining, Registration
from unlabeled.errors import DataError, UnlabeledError
from unlabeled.records import Summary
from unlabeled.storage.freshness import difference
from unlabeled.storage.intact import check_weights

logger = logging.getLogger(__name__)

BASELINE = "measured"
"""The status of a baseline in the leaderboard."""
PARENT_RUN = "UNLABELED_PARENT_RUN"
"""The environment variable with the id of the parent MLflow run, whose process holds the project's lock."""


def compare(
    config: Compare,
    registration: Registration,
    parameters: dict[str, Any],
    session: dict[str, Any],
    manifest: pd.DataFrame,
    summary: Summary,
    views_of: dict[str, Any],
    models_folder: Path,
    reporting_folder: Path,
) -> dict[str, Any]:
    """Trains each method that is not yet trained with these inputs. A method that fails does not stop the others.

    Nothing is registered, or the best method alone where `registration.register` is `best`.

    Args:
        parameters: The resolved parameters of all methods.
        session: `env` and `runtime_params` of this run, which the runs of the methods repeat.
        views_of: The record of the shared crops. An input only so that Kedro caches the crops first.
    """
    rows, metrics = [], {}
    for method in dict.fromkeys(config.methods or IMAGE_METHODS):
        folders = models_folder / method, reporting_folder / method
        if _is_trained(method, *folders, parameters[method], manifest, summary):
            status, reason = "kept", "trained before with the same inputs"
        else:
            logger.info("%s", method)
            reason = _run(method, session, first="pretraining", register="none")
            status = "failed" if reason else "trained"
        if status == "failed":
            logger.warning("%s failed: %s", method, reason)
        else:
            metrics[method] = read_json(folders[1] / "metrics.json")
        rows.append({"method": method, "status": status, "reason": reason})
    if not metrics:
        raise UnlabeledError(f"no method could be trained; the first, {rows[0]['method']}: {rows[0]['reason']}")
    board = _leaderboard(rows, metrics)
    for row in board[board.status != BASELINE].to_dict("records"):
        numbers = {name: row[name] for name in _measured(board) if pd.notna(row[name])}
        # MLflow takes no % in a name.
        mlflow.log_metrics({f"{row['method']}.{name.replace('%', 'pct')}": value for name, value in numbers.items()})
    for row in board.to_dict("records"):
        numbers = [f"{100 * row[name]:5.1f}" if pd.notna(row[name]) else "    –" for name in _accuracy_names(board)]
        logger.info("%-26s %-8s %s", row["method"], row["status"], "  ".join(numbers))
    logger.info("(%s, %%)", ", ".join(_accuracy_names(board)))
    if registration.register == "best":
        _register_best({method: reporting_folder / method for method in metrics}, models_folder, session)
    from unlabeled.reports.figures import draw_leaderboard  # imports matplotlib

    return {"leaderboard": board, "leaderboard_figure": draw_leaderboard(board)}


def _is_trained(
    method: str,
    models: Path,
    reports: Path,
    parameters: dict[str, Any],
    manifest: pd.DataFrame,
    summary: Summary,
) -> bool:
    files = models / "run.json", reports / "metrics.json", models / "encoder.safetensors"
    if not all(file.exists() for file in files):
        return False
    from unlabeled.images.pretrain import fingerprint  # imports torch

    pretraining = Pretraining.model_validate(parameters["pretraining"])
    recipe = Augmentation.model_validate(parameters["augmentation"])
    evaluation = Evaluation.model_validate(parameters["evaluation"])
    run, metrics = map(read_json, files[:2])
    try:
        check_weights(files[-1], run.get(WEIGHTS), "it is trained again")
    except DataError as error:
        logger.warning("%s", error)
        return False
    decides = fingerprint(method, manifest, summary, pretraining, recipe)
    asked = {"fingerprint": decides, "protocol": evaluation.digest()}
    return difference(asked, {"fingerprint": run.get("fingerprint"), "protocol": metrics.get("protocol")}) is None


def _register_best(reports: dict[str, Path], models_folder: Path, session: dict[str, Any]) -> None:
    """Registers the method that is best on the validation split, as choosing on test images would flatter it."""
    histories = {method: pd.read_csv(folder / "history.csv") for method, folder in reports.items()}
    found = {method: each.knn_accuracy.iloc[-1] for method, each in histories.items() if "knn_accuracy" in each}
    if not found:
        logger.warning("nothing is registered: without labels on the validation split no method is the best")
        return
    best = max(found, key=lambda method: found[method])
    told = ", ".join(f"{method} {found[method]:.1%}" for method in sorted(found, key=lambda method: -found[method]))
    logger.info("best by kNN on the validation split: %s (%s)", best, told)
    file = models_folder / best / "version.json"
    if file.exists() and read_json(file)["version"]:
        logger.info("it is registered already, as version %(version)s of %(name)s", read_json(file))
    elif reason := _run(best, session, first="registration", register="single"):
        raise UnlabeledError(f"{best} could not be registered: {reason}")


def _run(method: str, session: dict[str, Any], first: str, register: str) -> str:
    """Runs a method from a stage on; returns its error message, empty where it succeeded.

    Args:
        register: Value of `registration.register`.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer")
        order = {**session, "method": method, "first": first, "register": register, "answer": str(answer)}
        environment = {**os.environ, PARENT_RUN: active_run_id()}
        process = subprocess.run(
            [sys.executable, "-m", "pipelines.one_method"],
            input=json.dumps(order),
            text=True,
            env=environment,
            cwd=session["project_path"],
        )
        if process.returncode == 0:
            return ""
        return answer.read_text() if answer.exists() else f"its process ended with exit code {process.returncode}"


def _leaderboard(rows: list[dict[str, str]], metrics: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """One row a method or baseline, by the accuracy with the fewest labels; rows without numbers come last."""
    numbers = {method: {**_accuracies(each), "seconds": each["seconds"]} for method, each in metrics.items()}
    baselines = next(iter(metrics.values()))["baselines"]
    numbers |= {f"{name} (baseline)": _accuracies(each) for name, each in baselines.items()}
    rows = rows + [{"method": f"{name} (baseline)", "status": BASELINE, "reason": ""} for name in baselines]
    board = pd.DataFrame([{**row, **numbers.get(row["method"], {})} for row in rows])
    by = next((name for name in board.columns if name.startswith("few_label")), "knn_accuracy")
    return board.sort_values(by, ascending=False, na_position="last", kind="stable", ignore_index=True)


def _accuracies(metrics: dict[str, Any]) -> dict[str, float]:
    few = {f"few_label_{setting}": each["mean"] for setting, each in metrics["few_label"].items()}
    spread = {f"few_label_{setting}_std": each["std"] for setting, each in metrics["few_label"].items()}
    return {name: metrics[name] for name in ("linear_probe_accuracy", "knn_accuracy")} | few | spread


def _accuracy_names(board: pd.DataFrame) -> list[str]:
    return [name for name in _measured(board) if name != "seconds" and not name.endswith("_std")]


def _measured(board: pd.DataFrame) -> list[str]:
    return [name for name in board.columns if name not in ("method", "status", "reason")]


def create_pipeline() -> Pipeline:
    outputs = ("leaderboard", "leaderboard_figure")
    last = stage("compare", compare, outputs, spinner=False)
    return ingestion.create_pipeline() + augmentation.create_pipeline() + last
