"""Runs one method from its training on, as `kedro run` would: `python -m pipelines.one_method`, an order on stdin.

Of its own so that a method that runs out of memory, or is killed, takes nothing else with it.
"""

import json
import sys
from pathlib import Path

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from pipelines.cli import sentence


def main() -> None:
    order = json.load(sys.stdin)
    project, method = Path(order["project_path"]), order["method"]
    bootstrap_project(project)
    try:
        with KedroSession.create(project, env=order["env"], runtime_params=order["runtime_params"]) as session:
            session.run(pipeline_names=[method], from_nodes=[f"{method}.pretraining"])
    except Exception as error:
        message = sentence(error)
        Path(order["answer"]).write_text(message or f"{type(error).__name__}: {error}")
        if message:
            sys.exit(1)
        raise


if __name__ == "__main__":
    main()
