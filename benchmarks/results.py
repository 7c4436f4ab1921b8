"""Runs a pipeline once a seed, as a user does, and writes the table of its accuracies and seconds.

    python benchmarks/results.py [--pipeline=byol] [--env=local] [--seeds=3] [--params=...]

Each run is `kedro run` in a process of its own, from start to registered. Accuracies are of the test split, scored once
a run; mean ± standard deviation over the seeds. The last line is a JSON object.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", default="byol")
    parser.add_argument("--env", default="local")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--params", default="", help="further parameters, as for kedro run")
    options = parser.parse_args()
    runs = [run(options, seed) for seed in range(options.seeds)]
    rows = {"encoder": [metrics for metrics, _ in runs]}
    for name in runs[0][0]["baselines"]:
        rows[name] = [metrics["baselines"][name] for metrics, _ in runs]
    table = {name: accuracies(metrics) for name, metrics in rows.items()}
    settings = list(table["encoder"])
    print(f"| {options.pipeline} | " + " | ".join(settings) + " |")
    print("| --- |" + " --- |" * len(settings))
    for name, numbers in table.items():
        print(f"| {name} | " + " | ".join(f"{100 * m:.1f} ± {100 * s:.1f}" for m, s in numbers.values()) + " |")
    seconds = [(whole, metrics["seconds"]) for metrics, whole in runs]
    for whole, training in seconds:
        print(f"{whole:.1f} s from start to registered, {whole - training:.1f} s of it outside pretraining")
    print(json.dumps({"table": table, "seconds": seconds}))


def run(options: argparse.Namespace, seed: int) -> tuple[dict, float]:
    """The metrics of a run, and its seconds from the command to the registered version."""
    parameters = ",".join(filter(None, [f"pretraining.seed={seed}", options.params]))
    command = [Path(sys.executable).with_name("kedro"), "run", f"--pipeline={options.pipeline}", f"--env={options.env}"]
    began = time.time()
    subprocess.run([*command, f"--params={parameters}"], cwd=PROJECT, check=True)
    registered = (PROJECT / "data/06_models" / options.pipeline / "version.json").stat().st_mtime - began
    metrics = json.loads((PROJECT / "data/08_reporting" / options.pipeline / "metrics.json").read_text())
    return metrics, registered


def accuracies(metrics: list[dict]) -> dict[str, tuple[float, float]]:
    """Mean and std over the seeds, by setting."""
    values = {
        "linear probe": [m["linear_probe_accuracy"] for m in metrics],
        "kNN": [m["knn_accuracy"] for m in metrics],
    }
    for setting in metrics[0]["few_label"]:
        name = f"{setting} of the labels" if "%" in setting else f"{setting} a class"
        values[name] = [m["few_label"][setting]["mean"] for m in metrics]
    return {name: (statistics.mean(v), statistics.stdev(v) if len(v) > 1 else 0.0) for name, v in values.items()}


if __name__ == "__main__":
    main()
