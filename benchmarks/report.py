"""Measures seconds, memory and size of the page of a run on synthetic images and features.

    python benchmarks/report.py [--images=60000] [--size=32]

There are ten classes, and a sixth of the images is the test split. Imports are not counted. The last line is a JSON
object.
"""

import argparse
import json
import resource
import time

import numpy as np
import pandas as pd

from unlabeled.config import Augmentation, Evaluation, Ingestion, Pretraining, Registration
from unlabeled.evaluation.probe import LinearProbe
from unlabeled.evaluation.protocol import predict
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.images.evidence import ImageEvidence
from unlabeled.images.report import build_report

CLASSES = 10
DIMS = 512
"""Size of an embedding (D), as of a ResNet-18."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"images": 60_000, "size": 32}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    evidence = made_up(options.images, options.size)
    before, began = peak(), time.perf_counter()
    page = build_report(evidence)
    numbers = {
        "images": options.images,
        "seconds": round(time.perf_counter() - began, 1),
        "grown_mib": round(peak() - before),
        "peak_mib": round(peak()),
        "page_mb": round(len(page.encode()) / 1e6, 2),
    }
    print(json.dumps(numbers))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def made_up(n: int, size: int) -> ImageEvidence:
    random = np.random.default_rng(0)
    targets = random.integers(0, CLASSES, n)
    centres = random.normal(size=(CLASSES, DIMS)).astype(np.float32)
    features = centres[targets] + 1.5 * random.standard_normal((n, DIMS), np.float32)
    split = np.where(np.arange(n) % 6 == 0, "test", np.where(np.arange(n) % 12 == 1, "validation", "train"))
    manifest = pd.DataFrame({"sha256": [f"{i:064x}" for i in range(n)], "target": targets, "split": split})
    probe = LinearProbe(centres, np.zeros(CLASSES, np.float32), np.arange(CLASSES), 1.0)
    few = {setting: {"mean": 0.5, "std": 0.02} for setting in ("1", "5", "10")}
    accuracies = {"linear_probe_accuracy": 0.9, "knn_accuracy": 0.8, "few_label": few}
    metrics = accuracies | {"baselines": {name: accuracies for name in ("raw_input", "random_encoder", "pca")}}
    metrics |= {"embedding_std": 0.6, "rankme": 100.0, "images_per_second": 500.0, "seconds": 100.0}
    epochs = np.arange(1, 201)
    return ImageEvidence(
        run={"run_id": "0", "method": "byol", "seed": 0},
        version={
            "name": "noise",
            "version": "1",
            "champion": False,
            "verdict": "",
            "reason": "none",
            "selection": "",
        },
        images=random.integers(0, 256, (n, 3, size, size), dtype=np.uint8),
        manifest=manifest,
        summary={
            "source": "noise",
            "images": n,
            "classes": [str(c) for c in range(CLASSES)],
            "splits": manifest.split.value_counts().to_dict(),
        },
        quarantine=pd.DataFrame(columns=["path", "reason"]),
        views=np.empty((n, 0, 3, size, size), np.uint8),
        encoder=ImageEncoder("resnet18", 3, size, Normalisation((0.5,) * 3, (0.25,) * 3)),
        features=features,
        probe=probe,
        metrics=metrics,
        predictions=predict(probe, features, manifest),
        history=pd.DataFrame({"epoch": epochs, "loss": 1 / epochs, "knn_accuracy": 1 - 0.5 / epochs}),
        examples={},
        ingestion=Ingestion(),
        augmentation=Augmentation(views="fresh"),
        registration=Registration(),
        pretraining=Pretraining(),
        evaluation=Evaluation(),
        provenance={"command": "kedro run --pipeline=byol"},
    )


if __name__ == "__main__":
    main()
