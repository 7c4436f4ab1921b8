"""Kills a run at random moments, and checks that the next one completes it: the same result, and a sound registry.

`python -m scripts.kill_points --points=50` makes a small project in a temporary folder and runs it through once. Then,
for each point, it makes another, with an empty registry, runs it, kills it (SIGKILL) at a moment drawn uniformly from
the time that a stage takes, each stage in turn, runs it again, and compares. Prints where it was killed, and stops at
the first difference, or in the end where a stage was never hit.
"""

import argparse
import collections
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.progress import track

from pipelines.reproduce import UNSTEADY
from tests.pipelines.conftest import Project, empty_database, new_project

STAGES = {
    "ingestion": "data/02_intermediate/summary.json",
    "augmentation": "data/05_model_input/crops.json",
    "pretraining": "data/06_models/byol/run.json",
    "evaluation": "data/08_reporting/byol/predictions.parquet",
    "registration": "data/06_models/byol/version.json",
    "reporting": "data/08_reporting/byol/report.html",
}
"""Of each stage, a file that is there once it is done."""
CONTENTS = (
    "MLmodel",
    "artifacts/model/encoder.safetensors",
    "artifacts/model/classes.json",
    "artifacts/record/parameters.json",
)
"""Of each version's files."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, killed_in = random.Random(options.seed), collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        database = empty_database(Path(folder))
        expected, seconds = reference(new_project(Path(folder, "undisturbed"), database))
        print("the stages take", ", ".join(f"{stage} {each:.1f} s" for stage, each in seconds.items()))
        stages, attempts = itertools.cycle(STAGES), itertools.count()
        for _ in track(range(options.points), "killing"):
            stage, hit = next(stages), None
            while hit is None:  # each in a folder of its own: MLflow goes on reading a database that it has opened
                project = new_project(Path(folder, str(next(attempts))), database)
                hit = kill(project, stage, rng.uniform(0, seconds[stage]))
            killed_in[hit] += 1
            check_registry(project)  # whenever it is looked at
            if start(project).wait():
                sys.exit(f"the run after the kill failed:\n{log(project)}")
            check(project, expected)
            shutil.rmtree(project.path)
    print(json.dumps({"points": options.points, "completed": options.points, "killed_in": dict(killed_in)}))
    missed = [stage for stage in STAGES if not killed_in[stage]]
    if missed:
        sys.exit(f"never killed in {', '.join(missed)}: ask for more --points")


def start(project: Project) -> subprocess.Popen:
    command = ["kedro", "run", "--pipeline=byol"]
    with (project.path / "log").open("w") as log:
        streams = {"stdout": log, "stderr": log, "start_new_session": True}
        return subprocess.Popen(command, cwd=project.path, env=project.environment(), **streams)


def log(project: Project) -> str:
    return (project.path / "log").read_text()[-3000:]


def reference(project: Project) -> tuple[dict[str, Any], dict[str, float]]:
    """What a run that nobody disturbs gives, and how many seconds each stage takes."""
    process, seconds = start(project), {}
    wait_until_under_way(project, process)
    for stage, file in STAGES.items():
        began = time.monotonic()
        wait_for(project.path / file, process)
        seconds[stage] = time.monotonic() - began
    if process.wait():
        sys.exit(f"the run failed undisturbed:\n{log(project)}")
    return result(project), seconds


def kill(project: Project, stage: str, after: float) -> str | None:
    """Kills a run so many seconds into a stage, and returns which one was not done then; None: the run had ended."""
    process, names = start(project), list(STAGES)
    wait_until_under_way(project, process)
    for name in names[: names.index(stage)]:
        wait_for(project.path / STAGES[name], process)
    time.sleep(after)
    if process.poll() is not None:
        return None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if any(run.info.status == "FINISHED" for run in project.runs()):  # and the next one is not the same run
        return None
    return next((name for name, file in STAGES.items() if not (project.path / file).exists()), "the end")


def wait_until_under_way(project: Project, process: subprocess.Popen) -> None:
    wait_for(project.path / "data/02_intermediate", process)


def wait_for(file: Path, process: subprocess.Popen) -> None:
    while process.poll() is None and not file.exists():
        time.sleep(0.005)


def result(project: Project) -> dict[str, Any]:
    """All that has to be the same after a kill: weights, metrics, the decision, and the registry."""
    weights = (project.path / "data/06_models/byol/encoder.safetensors").read_bytes()
    metrics, version = project.json("data/08_reporting/byol/metrics.json"), project.json(STAGES["registration"])
    model = project.client().get_registered_model(version["name"])
    return {
        "weights": hashlib.sha256(weights).hexdigest(),
        "metrics": {key: metrics[key] for key in metrics.keys() - set(UNSTEADY)},
        "version": version,
        "aliases": model.aliases,
        "tags": model.tags,
        "versions": len(project.client().search_model_versions(f"name='{version['name']}'")),
    }


def check(project: Project, expected: dict[str, Any]) -> None:
    found = result(project)
    for what in expected:
        if found[what] != expected[what]:
            sys.exit(f"the run after the kill has another result: {what} {found[what]}, expected {expected[what]}")
    missing = [file for file in STAGES.values() if not (project.path / file).exists()]
    halves = [path for path in (project.path / "data").rglob("*.partial*")]
    if missing or halves or (project.path / "data/06_models/byol/resume.safetensors").exists():
        sys.exit(f"the run after the kill left {halves}, and not {missing}")
    check_registry(project)


def check_registry(project: Project) -> None:
    """Every version that the registry names can be fetched, the champion among them."""
    client = project.client()
    for version in client.search_model_versions():
        folder = Path(client.get_model_version_download_uri(version.name, version.version).removeprefix("file://"))
        for name in CONTENTS:
            if not (folder / name).is_file():
                sys.exit(f"version {version.version} has no {name}")
    for model in client.search_registered_models():
        for alias, number in model.aliases.items():
            client.get_model_version(model.name, number)
            if alias not in ("champion", "challenger"):
                sys.exit(f"an alias that nobody gave: {alias}")


if __name__ == "__main__":
    main()
