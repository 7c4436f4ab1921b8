"""Compares methods on one source: trains each in its own process, and draws a leaderboard."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from kedro.pipeline import Pipeline
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.clients.tracking import active_run_id
from pipelines.datasets.files import read_json
from pipelines.images import augmentation, ingestion
from pipelines.registry.starts import resolved
from pipelines.stages.freshness import WEIGHTS
from pipelines.stages.stage import stage
from unlabeled.catalogue import IMAGE_METHODS
from unlabeled.config import Augmentation, Compare, Evaluation, Pretraining, Registration, in_words
from unlabeled.errors import DataError, UnlabeledError
from unlabeled.evaluation.verdict import BASELINE_NAMES
from unlabeled.records import Summary
from unlabeled.runtime.legible import legible
from unlabeled.storage.freshness import difference
from unlabeled.storage.intact import check_weights

logger = logging.getLogger(__name__)

BASELINE, OF_BASELINE = "measured", " (baseline)"
"""The status of a baseline in the leaderboard, and the end of its name."""
TWIN = "random_encoder"
"""The baseline that each method has for itself."""
WIDTH = 80
"""Number of columns of the printed table."""
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

    Nothing is registered, or the best method alone where `registration.which` is `best`.

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
            reason = _run(method, session, first="pretraining", which="none")
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
    for line in ("accuracy on test, %:", *_in_lines(board)):
        logger.info("%s", line)
    if registration.which == "best":
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
    decides = fingerprint(method, manifest, summary, resolved(pretraining), recipe)
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
    elif reason := _run(best, session, first="registration", which="single"):
        raise UnlabeledError(f"{best} could not be registered: {reason}")


def _run(method: str, session: dict[str, Any], first: str, which: str) -> str:
    """Runs a method from a stage on; returns its error message, empty where it succeeded.

    Args:
        which: Value of `registration.which`.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer")
        order = {**session, "method": method, "first": first, "which": which, "answer": str(answer)}
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
    """One row a method or baseline, by the accuracy with the fewest labels; rows without numbers come last.

    The random encoder is a column: each method has its own, an untrained copy of its network.
    """
    numbers = {
        method: {**_accuracies(each), **_of_twin(each), "seconds": each["seconds"]} for method, each in metrics.items()
    }
    baselines = {name: each for name, each in next(iter(metrics.values()))["baselines"].items() if name != TWIN}
    numbers |= {f"{name}{OF_BASELINE}": _accuracies(each) for name, each in baselines.items()}
    rows = rows + [{"method": f"{name}{OF_BASELINE}", "status": BASELINE, "reason": ""} for name in baselines]
    board = pd.DataFrame([{**row, **numbers.get(row["method"], {})} for row in rows])
    by = next((name for name in board.columns if name.startswith("few_label")), "knn_accuracy")
    return board.sort_values(by, ascending=False, na_position="last", kind="stable", ignore_index=True)


def _accuracies(metrics: dict[str, Any]) -> dict[str, float]:
    few = {f"few_label_{setting}": each["mean"] for setting, each in metrics["few_label"].items()}
    spread = {f"few_label_{setting}_std": each["std"] for setting, each in metrics["few_label"].items()}
    return {name: metrics[name] for name in ("linear_probe_accuracy", "knn_accuracy")} | few | spread


def _of_twin(metrics: dict[str, Any]) -> dict[str, float]:
    """The accuracies of a method's random encoder with the fewest labels and with all of them."""
    if TWIN not in metrics["baselines"]:
        return {}
    twin = _accuracies(metrics["baselines"][TWIN])
    fewest = [name for name in twin if name.startswith("few_label")][:1]
    return {f"{TWIN}_{name}": twin[name] for name in (*fewest, "linear_probe_accuracy")}


def _in_lines(board: pd.DataFrame) -> list[str]:
    """The leaderboard as a table of 80 columns, without fractions of the labels: the page and the CSV have them."""
    names = {f"few_label_{each}": in_words(each) for each in _settings(board) if not each.endswith("%")}
    names |= {"linear_probe_accuracy": "linear probe", "knn_accuracy": "kNN"}
    twins = [name for name in board.columns if name.startswith(f"{TWIN}_few_label")]
    names = dict.fromkeys(twins, f"its random encoder, {next(iter(names.values()))}") | names
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("features")
    table.add_column("status")
    for header in names.values():
        table.add_column(header, justify="right", max_width=8)
    for row in board.to_dict("records"):
        name = row["method"].removesuffix(OF_BASELINE)
        told = BASELINE_NAMES.get(name, name) if row["status"] == BASELINE else name
        numbers = (f"{100 * row[each]:.1f}" if pd.notna(row[each]) else "–" for each in names)
        table.add_row(Text(legible(told)), row["status"], *numbers)
    with StringIO() as file:
        Console(file=file, width=WIDTH, color_system=None).print(table)
        return [line.rstrip() for line in file.getvalue().splitlines() if line.strip()]


def _settings(board: pd.DataFrame) -> list[str]:
    found = (name.removeprefix("few_label_") for name in board.columns if name.startswith("few_label_"))
    return [name for name in found if not name.endswith("_std")]


def _measured(board: pd.DataFrame) -> list[str]:
    return [name for name in board.columns if name not in ("method", "status", "reason")]


def create_pipeline() -> Pipeline:
    outputs = ("leaderboard", "leaderboard_figure")
    last = stage("compare", compare, outputs, spinner=False)
    return ingestion.create_pipeline() + augmentation.create_pipeline() + last
