"""Kedro's settings of this project."""

from pipelines.hooks import ProjectHook
from pipelines.parameters import MethodConfigLoader

HOOKS = (ProjectHook(),)
DISABLE_HOOKS_FOR_PLUGINS = ("kedro_mlflow", "kedro-telemetry")  # with an underscore; ours extends kedro-mlflow's
CONFIG_LOADER_CLASS = MethodConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*"]},
    "merge_strategy": {
        "parameters": "soft",
        "mlflow": "soft",
    },  # an environment changes single keys, and does not drop the others
}
