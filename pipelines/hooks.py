"""The Kedro hook of every run: one run at a time in a project, tracked in MLflow with all that repeats it."""

import copy
import logging
import os
import re
import shlex
import socket
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import mlflow
from filelock import FileLock, Timeout
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import MemoryDataset
from kedro_mlflow.framework.hooks.mlflow_hook import MlflowHook
from mlflow.entities import LifecycleStage
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from pydantic import BaseModel

from pipelines.clients.git import git_state
from pipelines.clients.store import anchored_uri, check_reachable
from pipelines.commands.compare import PARENT_RUN
from pipelines.parameters import check_blocks_known, check_no_image_parameters, check_spelling, flatten, warn_unread
from pipelines.registry.killed import HOST, PROJECT, RERUN, delete_unregistered_models, mark_killed_runs
from pipelines.registry.notes import describe_experiment
from pipelines.registry.provenance import Provenance, provenance
from pipelines.registry.starts import resolved
from pipelines.stages.defaults import Defaults
from pipelines.stages.freshness import check_intact
from pipelines.stages.planning import log_plan, method_to_train
from pipelines.stages.pretraining import CHECKPOINT
from unlabeled.catalogue import IMAGE_METHODS, METHODS
from unlabeled.config import Block
from unlabeled.errors import UnlabeledError
from unlabeled.runtime.legible import legible
from unlabeled.runtime.masking import masked

logger = logging.getLogger(__name__)
logging.getLogger("kedro_mlflow").setLevel(logging.ERROR)  # on import it overrides conf/logging.yml

TRACKING_URI = os.environ.get("MLFLOW_TRACKING_URI")
"""The user's tracking URI. It is read once, as MLflow writes to the variable and a second session would read that."""
DATA_ARTIFACTS = ("summary", "manifest")
"""Outputs of ingestion that every run logs, also where another run has ingested the data."""
ARTIFACTS = (*DATA_ARTIFACTS, "quarantine", "history", "metrics", "predictions", "report")
ARTIFACTS += ("leaderboard", "leaderboard_figure", "leaderboard_page", "finetune_metrics")
ARTIFACTS += ("embedded", "similar", "similar_page", "exported")
"""Small outputs that are logged as artifacts, for people to open from MLflow's page of the run."""

HALF_WRITTEN = re.compile(r"\.tmp\w{6}|.+\.\d+\.partial(\.\w+)?")
"""Temporary names of unfinished files: those of safetensors and of `unlabeled.storage.arrays`."""
RECORDED = {"pretraining", "registration"}
"""Stages whose runs keep a record, from which they can be reproduced."""


class ProjectHook(MlflowHook):
    """kedro-mlflow's hook, extended by the project's lock, tags, and typed parameters logged key by key."""

    @hook_impl
    def after_context_created(self, context: Any) -> None:
        config = copy.deepcopy(context.config_loader["mlflow"])
        server = config.setdefault("server", {})
        uri = TRACKING_URI or server.get("mlflow_tracking_uri") or "sqlite:///mlflow.db"
        uri = anchored_uri(uri, context.project_path)
        check_reachable(uri)
        server["mlflow_tracking_uri"] = uri
        experiment = config["tracking"]["experiment"]
        if uri.startswith("sqlite"):
            location = experiment["create_experiment_kwargs"]["artifact_location"]
            experiment["create_experiment_kwargs"]["artifact_location"] = (context.project_path / location).as_uri()
        else:  # a server decides for itself
            experiment.pop("create_experiment_kwargs", None)
        context.config_loader["mlflow"] = config
        super().after_context_created(context=context)
        self._project, self._parameters = Path(context.project_path), context.config_loader["parameters"]
        self._defaults = Defaults(context.config_loader)

    @hook_impl
    def after_catalog_created(self, catalog: Any) -> None:  # ty: ignore[incompatible-method-override]  # pluggy allows it
        self._catalog = catalog
        self._intact: set[str] = set()  # datasets that this run has written or checked

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:
        parent = os.environ.get(PARENT_RUN)  # the parent holds the lock
        self._lock = None if parent else _lock(self._project)
        try:
            if not parent:
                _delete_partial_files(self._project)
                mark_killed_runs(self._project, self.mlflow_config.tracking.experiment._experiment.experiment_id)
                describe_experiment(self.mlflow_config.tracking.experiment._experiment)
            session = {key: run_params[key] for key in ("project_path", "env", "runtime_params")}
            catalog["session"] = MemoryDataset(session)
            methods = sorted({tag for node in pipeline.nodes for tag in node.tags} & METHODS.keys())
            if len(methods) > 1:
                received = ", ".join(methods)
                raise UnlabeledError(f"received the methods {received} in one run, expected one, or --pipeline=compare")
            given = run_params["runtime_params"] or {}
            known = {name for each in pipelines.values() for name in _parameters_of(each)}
            check_blocks_known(given, known)
            check_spelling(self._parameters, known)
            check_no_image_parameters(given, {*methods} - IMAGE_METHODS.keys())
            if "session" not in pipeline.inputs() and not parent:  # `compare` passes them to the methods
                warn_unread(given, _parameters_of(pipeline))
            made_from = self._provenance(pipeline, catalog, methods)
            catalog["provenance"] = MemoryDataset(made_from)
            _check_methods(pipeline, catalog)
            self._to_plan, self._ran = method_to_train(pipeline), []
            continued = _run_to_continue(pipeline, catalog)
            tags = {HOST: socket.gethostname(), **made_from.tags}
            if continued:  # the tags of the training stay as they are
                tags = {f"{RERUN}{key}": value for key, value in tags.items()}
            tags |= {"method": "".join(methods), PROJECT: run_params["project_path"]}
            self._start(continued, run_params, {**tags, **({MLFLOW_PARENT_RUN_ID: parent} if parent else {})})
            self._already_active_mlflow, before = True, self._already_active_mlflow  # kedro-mlflow starts none
            told = {**run_params, "runner": None}  # its tag would be an address in memory
            super().before_pipeline_run(run_params=told, pipeline=pipeline, catalog=catalog)
            self._already_active_mlflow = before
            if not continued:
                _keep_record(made_from.files)
            for name in pipeline.inputs():
                if name.rpartition(".")[2] in DATA_ARTIFACTS and catalog.exists(name):  # another run has ingested it
                    self._keep(name)
        except BaseException:
            self._unlock()
            raise

    @hook_impl
    def before_node_run(self, node: Any, catalog: Any, inputs: dict[str, Any]) -> dict[str, Any]:  # ty: ignore[incompatible-method-override]
        """Adapts a node's parameters to the data, logs them, and passes them to the node with absolute paths."""
        self._ran.append(node.name)
        if self._to_plan and {"augmentation", "pretraining"} & set(node.tags):
            log_plan(self._to_plan, catalog, self._defaults)
            self._to_plan = None
        if node.namespace in METHODS and "augmentation" in node.tags:
            self._defaults.check_batch(node.namespace, catalog)
        given = {name.removeprefix("params:"): value for name, value in inputs.items() if name.startswith("params:")}
        blocks = {name: value for name, value in given.items() if isinstance(value, Block)}
        given |= {name: self._defaults.fit(name, block, catalog) for name, block in blocks.items()}
        flat = dict(pair for name, value in given.items() for pair in _flat(name, value))
        try:
            mlflow.log_params(flat)
        except MlflowException:  # MLflow rejects changed values: this stage runs again in the run of its training
            mlflow.set_tags({f"rerun.{name}": value for name, value in flat.items()})
        fitted = {f"params:{name}": given[name].anchored(self._project) for name in blocks}
        if "parameters" in inputs:  # `compare` reads those of all methods
            fitted["parameters"] = self._defaults.fit_methods(inputs["parameters"], catalog)
        return fitted

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any, node: Any) -> None:
        if dataset_name not in self._intact:
            check_intact(dataset_name, data, self._catalog[dataset_name], self._catalog.load)
            self._intact.add(dataset_name)
        if dataset_name.rpartition(".")[2] == "summary":
            mlflow.set_tags({"data_digest": data["data_digest"], "source": data["source"]})

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Any) -> None:
        self._intact.add(dataset_name)
        if dataset_name.rpartition(".")[2] in ARTIFACTS:
            self._keep(dataset_name)

    @hook_impl
    def after_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:
        super().after_pipeline_run(run_params=run_params, pipeline=pipeline, catalog=catalog)
        for name in pipeline.inputs():
            if name.endswith(".model_folder"):
                (catalog.load(name) / CHECKPOINT).unlink(missing_ok=True)
        if run_params["only_missing_outputs"]:
            kept = [node.name for node in pipeline.nodes if node.name not in self._ran]
            ran, kept = (", ".join(names) or "none" for names in (self._ran, kept))
            logger.info(
                "--only-missing-outputs: stages that ran: %s; with all their outputs already there: %s", ran, kept
            )
        self._unlock()

    @hook_impl
    def on_pipeline_error(self, error: Exception, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:
        try:
            mlflow.set_tag("error", legible(masked(str(error)))[:500])
            if run := mlflow.active_run():
                delete_unregistered_models(MlflowClient(), run)
            super().on_pipeline_error(error=error, run_params=run_params, pipeline=pipeline, catalog=catalog)
        except MlflowException as unreachable:  # the original error is raised, not this one
            logger.warning("MLflow could not record the failure: %s", unreachable)
        finally:
            self._unlock()

    def _start(self, continued: str | None, run_params: dict[str, Any], tags: dict[str, str]) -> None:
        """Starts the MLflow run with its tags, by which a later run recognises it if it is killed."""
        if self._already_active_mlflow:
            mlflow.set_tags(tags)
            return
        experiment = self.mlflow_config.tracking.experiment._experiment.experiment_id
        mlflow.start_run(continued, experiment, "+".join(run_params["pipeline_names"] or ["__default__"]), tags=tags)

    def _keep(self, dataset_name: str) -> None:
        """Logs a dataset's file as an artifact."""
        try:
            mlflow.log_artifact(str(self._catalog[dataset_name]._filepath))
        except MlflowException as error:  # the file itself is on disk
            logger.warning("MLflow could not store %s: %s", dataset_name, error)

    def _unlock(self) -> None:
        if self._lock:
            self._lock.release()

    def _provenance(self, pipeline: Any, catalog: Any, methods: list[str]) -> Provenance:
        """The provenance of the run. Raises before any work where `require_git` is set and there is no commit."""
        blocks = [name for name in _parameters_of(pipeline) if name.endswith("registration")]
        git = git_state(self._project, required=any(catalog.load(f"params:{name}").require_git for name in blocks))
        makes = {tag for node in pipeline.nodes for tag in node.tags} & RECORDED
        command = shlex.join(["kedro", *sys.argv[1:]])
        return provenance(self._project, git, command, self._parameters, bool(makes), methods)


def _parameters_of(pipeline: Any) -> list[str]:
    """The dotted names of the blocks of parameters that a pipeline's nodes read."""
    return [name.removeprefix("params:") for name in pipeline.inputs() if name.startswith("params:")]


def _keep_record(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        if files:
            mlflow.log_artifacts(folder)


def _check_methods(pipeline: Any, catalog: Any) -> None:
    """Checks the parameters of pretraining before any work, so that an invalid value is not found after ingestion."""
    ingests = bool(pipeline.only_nodes_with_tags("ingestion").nodes)
    for node in pipeline.only_nodes_with_tags("pretraining").nodes:
        method, room = node.namespace, node.func.__module__.split(".")[1]
        config, of_views = (catalog.load(f"params:{method}.{block}") for block in ("pretraining", "augmentation"))
        if method in IMAGE_METHODS:
            of_views = of_views.crop_size or (catalog.load("params:ingestion").known_size if ingests else None)
        import_module(f"unlabeled.{room}.pretrain").check(method, resolved(config), of_views)  # imports torch


def _lock(project: Path) -> FileLock:
    (project / "data").mkdir(exist_ok=True)
    lock = FileLock(project / "data" / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UnlabeledError(
            f"another run is at work in {project}: wait for it to end, or use a second clone of the project"
        ) from error
    return lock


def _delete_partial_files(project: Path) -> None:
    """Deletes unfinished files of killed runs. The caller holds the lock, so no run is writing them."""
    for path in (project / "data").glob("0[2-8]_*/**/*"):
        if HALF_WRITTEN.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def _run_to_continue(pipeline: Any, catalog: Any) -> str | None:
    """The id of the training's MLflow run where only later stages run, which continue it; None: a new run starts."""
    for name in pipeline.inputs():
        if name.endswith(".run") and catalog.exists(name):
            run_id = catalog.load(name)["run_id"]
            try:
                run = MlflowClient().get_run(run_id)
            except MlflowException:  # trained on another machine, and pulled with DVC
                return None
            return run_id if run.info.lifecycle_stage == LifecycleStage.ACTIVE else None
    return None


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Parameters by dotted names, without the name of the method, so that methods can be compared in MLflow."""
    head, _, tail = name.partition(".")
    return flatten({tail if head in METHODS else name: value.model_dump() if isinstance(value, BaseModel) else value})
