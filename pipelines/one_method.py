"""Runs one method from a stage on, as `kedro run` would: `python -m pipelines.one_method`, with JSON on stdin.

`compare` starts it as a separate process, so that a method that runs out of memory does not stop the others.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, cast

from kedro.framework.project import configure_project
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.utils import is_kedro_project

from pipelines.arguments import write_params
from pipelines.cli import QUIET, sentence
from unlabeled.runtime.masking import masked
from unlabeled.runtime.progress import be_quiet


def main() -> None:
    order = json.load(sys.stdin)
    project, method = Path(order["project_path"]), order["method"]
    registers = {"registration": {**order["runtime_params"].get("registration", {}), "which": order["which"]}}
    # MLflow records this as the command that repeats the run.
    sys.argv = ["kedro", "run", f"--pipeline={method}", *_arguments(order["env"], order["runtime_params"])]
    if is_kedro_project(project):
        bootstrap_project(project)
    else:  # an installed project
        configure_project("pipelines")
    if QUIET in os.environ:
        be_quiet()
    try:
        given = {**order["runtime_params"], **registers}
        with KedroSession.create(project, env=order["env"], runtime_params=given) as session:
            cast(KedroSession, session).run(pipeline_names=[method], from_nodes=[f"{method}.{order['first']}"])
    except Exception as error:
        message = sentence(error)
        Path(order["answer"]).write_text(masked(message or f"{type(error).__name__}: {error}"))
        if message:
            sys.exit(1)
        raise


def _arguments(env: str | None, parameters: dict[str, Any]) -> list[str]:
    given = {"env": env, "params": write_params({key: each for key, each in parameters.items() if key != "compare"})}
    return [f"--{option}={value}" for option, value in given.items() if value]


if __name__ == "__main__":
    main()
