"""The settings that Kedro reads for this project."""

import logging
import os
from pathlib import Path

import yaml
from kedro.framework.project import LOGGING
from kedro.utils import find_kedro_project

from pipelines.hooks import ProjectHook
from pipelines.parameters import MethodConfigLoader
from unlabeled.runtime.legible import make_legible

HOOKS = (ProjectHook(),)
DISABLE_HOOKS_FOR_PLUGINS = ("kedro_mlflow", "kedro-telemetry")  # with an underscore; our hook extends kedro-mlflow's
CONFIG_LOADER_CLASS = MethodConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*"]},
    "merge_strategy": {
        "parameters": "soft",
        "mlflow": "soft",
    },  # an environment overrides single keys and keeps the others
}

# Kedro finds conf/logging.yml only where a command runs in the project's root.
project = find_kedro_project(Path.cwd())
if project not in (None, Path.cwd()) and "KEDRO_LOGGING_CONFIG" not in os.environ:
    LOGGING.configure(yaml.safe_load((project / "conf/logging.yml").read_text()))
for handler in logging.getLogger().handlers:  # conf/logging.yml cannot name our filter
    handler.addFilter(make_legible)
