"""Kills a run at random moments, and checks that the next one completes it: the same result, and a sound registry.

`python scripts/kill_points.py --points=50` makes a small project in a temporary folder, runs it through once, then, for
each point: empties its data, runs it, kills it (SIGKILL) at a moment drawn uniformly from the time that the chain takes
after start-up, runs it again, and compares. Prints where it was killed, and stops at the first difference.
"""

import argparse
import collections
import hashlib
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

import mlflow
import yaml
from rich.progress import track

PROJECT = Path(__file__).resolve().parents[1]
COPIED = ("conf", "pyproject.toml", "dvc.yaml", ".gitignore", ".telemetry", "requirements.lock")
LINKED = ("pipelines", "src")
QUICK = {
    "ingestion": {"fraction": 0.3},
    "augmentation": {"views": 8},
    "pretraining": {"epochs": 3, "warmup_epochs": 1, "checkpoint_seconds": 0, "min_embedding_std": 0},
    "evaluation": {"draws": 2, "shots": [1], "fractions": [0.1], "regularisation": [0.01, 0.1]},
}
STAGES = {
    "ingestion": "data/02_intermediate/summary.json",
    "augmentation": "data/05_model_input/crops.json",
    "pretraining": "data/06_models/byol/run.json",
    "evaluation": "data/08_reporting/byol/predictions.parquet",
    "registration": "data/06_models/byol/version.json",
    "reporting": "data/08_reporting/byol/report.html",
}
"""Of each stage, a file that is there once it is done."""
UNSTEADY = ("seconds", "images_per_second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, killed_in = random.Random(options.seed), collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        project = make_project(Path(folder, "project"))
        expected, startup, total = reference(project)
        print(f"the chain takes {total:.1f} s, {startup:.1f} s of them start-up; the weights are {expected[0][:12]}")
        for _ in track(range(options.points), "killing"):
            process = None
            while process is None or process.poll() is not None:  # a run that has ended is not killed
                wipe(project)
                process = start(project)
                time.sleep(rng.uniform(startup, total))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed_in[next((stage for stage, file in STAGES.items() if not (project / file).exists()), "the end")] += 1
            check_registry(project)  # whenever it is looked at
            again = start(project)
            if again.wait():
                sys.exit(f"the run after the kill failed:\n{(project / 'log').read_text()[-3000:]}")
            check(project, expected)
    print("killed in:", ", ".join(f"{stage} {killed_in[stage]}" for stage in (*STAGES, "the end")))
    print(json.dumps({"points": options.points, "completed": options.points, "killed_in": dict(killed_in)}))


def make_project(path: Path) -> Path:
    path.mkdir()
    for name in COPIED:
        source = PROJECT / name
        shutil.copytree(source, path / name) if source.is_dir() else shutil.copy(source, path / name)
    for name in LINKED:
        (path / name).symlink_to(PROJECT / name)
    parameters = path / "conf/base/parameters.yml"
    changed = yaml.safe_load(parameters.read_text())
    for block, values in QUICK.items():
        changed[block].update(values)
    parameters.write_text(yaml.safe_dump(changed))
    (path / "data").mkdir()
    author = ["-c", "user.name=kill", "-c", "user.email=kill@localhost", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "a project"]):
        subprocess.run(["git", *command], cwd=path, check=True)
    return path


def start(project: Path) -> subprocess.Popen:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING")}
    environment["PYTHONPATH"] = os.pathsep.join([str(project / "src"), str(project)])
    command = [sys.executable, "-m", "kedro", "run", "--pipeline=byol"]
    with (project / "log").open("w") as log:
        return subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log, start_new_session=True)


def reference(project: Path) -> tuple[tuple[str, dict], float, float]:
    """What a run that nobody disturbs gives, after how many seconds it begins to work, and after how many it ends."""
    start(project).wait()  # migrates the database
    wipe(project)
    began, process, startup = time.monotonic(), start(project), None
    while process.poll() is None:
        if startup is None and (project / "data/02_intermediate").exists():
            startup = time.monotonic() - began
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"the run failed undisturbed:\n{(project / 'log').read_text()[-3000:]}")
    return result(project), startup or 0.0, time.monotonic() - began


def wipe(project: Path) -> None:
    for folder in (project / "data").glob("0*"):
        shutil.rmtree(folder)


def result(project: Path) -> tuple[str, dict]:
    weights = (project / "data/06_models/byol/encoder.safetensors").read_bytes()
    metrics = json.loads((project / "data/08_reporting/byol/metrics.json").read_text())
    return hashlib.sha256(weights).hexdigest(), {key: metrics[key] for key in metrics.keys() - set(UNSTEADY)}


def check(project: Path, expected: tuple[str, dict]) -> None:
    if result(project) != expected:
        sys.exit("the run after the kill has another result")
    missing = [file for file in STAGES.values() if not (project / file).exists()]
    halves = [path for path in (project / "data").rglob("*.partial*")]
    if missing or halves or (project / "data/06_models/byol/resume.safetensors").exists():
        sys.exit(f"the run after the kill left {halves}, and not {missing}")
    check_registry(project)


def check_registry(project: Path) -> None:
    """Every version that the registry names can be fetched, the champion among them."""
    client = mlflow.MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    for version in client.search_model_versions():
        folder = Path(client.get_model_version_download_uri(version.name, version.version).removeprefix("file://"))
        for name in ("MLmodel", "artifacts/model/encoder.safetensors", "artifacts/model/classes.json"):
            if not (folder / name).is_file():
                sys.exit(f"version {version.version} has no {name}")
    for model in client.search_registered_models():
        for alias, number in model.aliases.items():
            client.get_model_version(model.name, number)
            if alias not in ("champion", "challenger"):
                sys.exit(f"an alias that nobody gave: {alias}")


if __name__ == "__main__":
    main()
