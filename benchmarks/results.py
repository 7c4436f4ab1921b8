"""Runs a pipeline once for each seed, as a user does, and prints a table of accuracies and seconds.

    python benchmarks/results.py [--pipeline=byol] [--env=local] [--seeds=3] [--params=...]
    python benchmarks/results.py --pipeline=compare     # one row a method, and the baselines
    python benchmarks/results.py --pipeline=clip --also=zero_shot_accuracy,retrieval.text_to_image.recall_at_10

Each run is `kedro run` in a new process, from start to registration. Accuracies are on the test split, measured once a
run; mean ± standard deviation over the seeds. The last line is a JSON object.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
REPORTS = PROJECT / "data/08_reporting"
FEW = "1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", default="byol")
    parser.add_argument("--env", default="local")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--params", default="", help="further parameters, as for kedro run")
    parser.add_argument("--also", default="", help="further numbers of metrics.json, by their dotted names")
    options = parser.parse_args()
    runs = [run(options, seed) for seed in range(options.seeds)]
    rows = {name: accuracies([metrics[name] for metrics, _ in runs]) for name in runs[0][0]}
    if options.pipeline == "compare":
        rows = dict(sorted(rows.items(), key=lambda row: -row[1][f"{FEW} a class"][0]))
    settings = list(next(iter(rows.values())))
    print(f"| {options.pipeline} | " + " | ".join(settings) + " |")
    print("| --- |" + " --- |" * len(settings))
    for name, numbers in rows.items():
        cells = [
            f"{m:.1f} ± {s:.1f}" if settings[i] != "seconds" else f"{m:.0f}"
            for i, (m, s) in enumerate(numbers.values())
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")
    if options.pipeline != "compare":
        for metrics, whole in runs:
            training = metrics["encoder"]["seconds"]
            print(f"{whole:.1f} s from start to registered, {whole - training:.1f} s of it outside pretraining")
    also = {name: [dotted(metrics["encoder"], name) for metrics, _ in runs] for name in options.also.split(",") if name}
    for name, (mean, deviation) in spread(also).items():
        print(f"{name}: {mean:.4f} ± {deviation:.4f}")
    print(json.dumps({"table": rows, "also": also, "seconds": [whole for _, whole in runs]}))


def run(options: argparse.Namespace, seed: int) -> tuple[dict[str, dict], float]:
    """The metrics of a run by row of the table, and the seconds from its start to the registered version."""
    parameters = ",".join(filter(None, [f"pretraining.seed={seed}", options.params]))
    command = [Path(sys.executable).with_name("kedro"), "run", f"--pipeline={options.pipeline}", f"--env={options.env}"]
    began = time.time()
    subprocess.run([*command, f"--params={parameters}"], cwd=PROJECT, check=True)
    if options.pipeline == "compare":
        return of_methods(), time.time() - began
    registered = (PROJECT / "data/06_models" / options.pipeline / "version.json").stat().st_mtime - began
    metrics = json.loads((REPORTS / options.pipeline / "metrics.json").read_text())
    return {"encoder": metrics, **metrics["baselines"]}, registered


def of_methods() -> dict[str, dict]:
    """The metrics of each method on the leaderboard, and of the baselines once."""
    with (REPORTS / "leaderboard.csv").open() as file:
        names = [row["method"] for row in csv.DictReader(file) if row["status"] in ("trained", "kept")]
    rows = {name: json.loads((REPORTS / name / "metrics.json").read_text()) for name in names}
    baselines = rows["byol" if "byol" in rows else next(iter(rows))]["baselines"]
    return rows | {f"*{name}*": numbers for name, numbers in baselines.items()}


def dotted(metrics: dict, name: str) -> float:
    """The number with this dotted name in nested metrics."""
    for key in name.split("."):
        metrics = metrics[key]
    return metrics


def accuracies(metrics: list[dict]) -> dict[str, tuple[float, float]]:
    """Mean and std over the seeds, in %, by setting; and the seconds of training."""
    values = scores(metrics)
    own = [m.get("baselines", {"random_encoder": m})["random_encoder"]["few_label"][FEW]["mean"] for m in metrics]
    values["untrained, 1 a class"] = own
    table = {name: (100 * mean, 100 * std) for name, (mean, std) in spread(values).items()}
    return table | spread({"seconds": [m.get("seconds", 0.0) for m in metrics]})


def scores(metrics: list[dict]) -> dict[str, list[float]]:
    """Accuracies by setting, one of each of the metrics."""
    values = {
        "linear probe": [m["linear_probe_accuracy"] for m in metrics],
        "kNN": [m["knn_accuracy"] for m in metrics],
    }
    for setting in metrics[0]["few_label"]:
        name = f"{setting} of the labels" if "%" in setting else f"{setting} a class"
        values[name] = [m["few_label"][setting]["mean"] for m in metrics]
    return values


def spread(values: dict[str, list[float]]) -> dict[str, tuple[float, float]]:
    return {name: (statistics.mean(v), statistics.stdev(v) if len(v) > 1 else 0.0) for name, v in values.items()}


if __name__ == "__main__":
    main()
