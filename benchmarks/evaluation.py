"""Measures seconds and memory of the evaluation protocol on many synthetic features of overlapping classes.

    python benchmarks/evaluation.py [--images=100000] [--dims=512] [--classes=10]

The last line is a JSON object.
"""

import argparse
import json
import resource
import time

import numpy as np

from unlabeled.config import Evaluation
from unlabeled.evaluation.probe import Labels, few_label_accuracy, fit_linear_probe, knn_accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"images": 100_000, "dims": 512, "classes": 10}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    features, labels = made_up(options.images, options.dims, options.classes)
    before, config, seconds = peak_mb(), Evaluation(), {}
    for name, measure in {
        "linear probe": fit_linear_probe,
        "kNN": knn_accuracy,
        "few labels": few_label_accuracy,
    }.items():
        began = time.perf_counter()
        measure(features, labels, config)
        seconds[name] = time.perf_counter() - began
        print(f"{name}: {seconds[name]:.1f} s")
    size = features.nbytes / 2**20
    print(f"features: {size:.0f} MiB; peak: {before:.0f} MiB before, {peak_mb():.0f} MiB after")
    print(json.dumps({"seconds": seconds, "features_mb": size, "before_mb": before, "peak_mb": peak_mb()}))


def made_up(images: int, dims: int, classes: int) -> tuple[np.ndarray, Labels]:
    """Float32 features (images, dims), and labels with 70 % in the train split, 10 % validation, 20 % test."""
    generator = np.random.default_rng(0)
    targets = generator.integers(0, classes, images)
    features = generator.standard_normal((images, dims), dtype=np.float32)
    features += 0.15 * generator.standard_normal((classes, dims), dtype=np.float32)[targets]
    train, validation, test = np.split(generator.permutation(images), [int(0.7 * images), int(0.8 * images)])
    return features, Labels(targets, train, validation, test)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
