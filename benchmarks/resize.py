"""Compares the choices of `ingestion.resize` on labelled images that are not square, without training.

    python benchmarks/resize.py --data=/my/clothing [--weights=tf_efficientnet_lite0.safetensors] [--bf16]

The folder has official splits. The images are ingested with each choice at 224 pixels. Raw pixels, PCA and, with
`--weights`, a frozen EfficientNet-Lite0 (timm's `tf_efficientnet_lite0`) are measured by the project's protocol: on the
validation split, to choose, with the middle C for the linear probe; and on test. Few labels: mean and standard
deviation over the protocol's draws, which are the same for each choice. The last line is a JSON object.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import cast, get_args

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from unlabeled.config import Evaluation, Ingestion
from unlabeled.encoders import Saved
from unlabeled.evaluation.probe import Labels, measure
from unlabeled.evaluation.protocol import baselines_of, pixels_of
from unlabeled.images.ingest import Ingested, ingest
from unlabeled.records import Accuracies

SIZE = 224
"""Pixels a side of the stored images: the size that the frozen network was trained on."""
BATCH_SIZE = 32
Kind = Callable[[np.ndarray, pd.DataFrame], np.ndarray]
"""A function that computes features, float32 (N, D), of images, uint8 (N, C, H, W), and their manifest."""
CHOICES = get_args(Ingestion.model_fields["resize"].annotation)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--bf16", action="store_true", help="the frozen network computes in bfloat16")
    options = parser.parse_args()
    kinds: dict[str, Kind] = {"PCA": pca_of, "raw pixels": lambda images, _: pixels_of(images)}
    if options.weights:
        kinds = {"frozen network": frozen(options.weights, options.bf16), **kinds}
    config, results = Evaluation(), {}
    print(
        "split | features | resize | linear probe | kNN | " + " | ".join(f"{shots} a class" for shots in config.shots)
    )
    with tempfile.TemporaryDirectory() as folder:
        data = {choice: ingested(options.data, choice, Path(folder, choice)) for choice in CHOICES}
        for (name, features_of), (choice, found) in product(kinds.items(), data.items()):
            features = features_of(found.images, found.manifest)
            for split, labels in splits_of(found.manifest).items():
                numbers, _ = measure(features, labels, config)
                results[f"{split} {name} {choice}"] = numbers
                print(" | ".join([split, name, choice, *told(numbers, config)]), flush=True)
    print(json.dumps(results))


def ingested(data: Path, choice: str, folder: Path) -> Ingested:
    folder.mkdir()
    return ingest(Ingestion(source="image_folder", path=str(data), image_size=SIZE, resize=choice), folder)


def splits_of(manifest: pd.DataFrame) -> dict[str, Labels]:
    """The labels to choose by, whose test split is the validation split, and those of the test split."""
    labels = Labels.of(manifest)
    choosing = Labels(labels.targets, labels.train, np.empty(0, np.int64), labels.validation, labels.groups)
    return {"validation": choosing, "test": labels}


def told(numbers: Accuracies, config: Evaluation) -> list[str]:
    """Accuracies in percent, in the order of the table's columns."""
    few = (numbers["few_label"][str(shots)] for shots in config.shots)
    shares = numbers["linear_probe_accuracy"], numbers["knn_accuracy"]
    return [f"{100 * share:.1f}" for share in shares] + [
        f"{100 * each['mean']:.1f} ± {100 * each['std']:.1f}" for each in few
    ]


def pca_of(images: np.ndarray, manifest: pd.DataFrame) -> np.ndarray:
    """The protocol's baseline, float32 (N, D)."""
    no_encoder = cast(Saved, None)  # only other baselines have one
    return baselines_of(no_encoder, images, lambda: pixels_of(images), manifest, Evaluation())["pca"]()


def frozen(weights: Path, bf16: bool) -> Kind:
    """A function from uint8 images (N, 3, SIZE, SIZE) to the frozen network's features, float32 (N, 1280)."""
    import timm  # seconds to import

    network = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(load_file(weights), strict=True)
    network.reset_classifier(0)
    network.eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def embed(images: np.ndarray, manifest: pd.DataFrame) -> np.ndarray:
        parts, began = [], time.perf_counter()
        for start in range(0, len(images), BATCH_SIZE):
            batch = torch.from_numpy(np.array(images[start : start + BATCH_SIZE])).float() / 127.5 - 1
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                parts.append(network(batch.contiguous(memory_format=torch.channels_last)).float().numpy())
        print(f"({len(images):,} images embedded in {time.perf_counter() - began:.0f} s)", flush=True)
        return np.concatenate(parts)

    return embed


if __name__ == "__main__":
    main()
