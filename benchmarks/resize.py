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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from unlabeled.config import Evaluation, Ingestion
from unlabeled.evaluation.probe import Labels, measure
from unlabeled.evaluation.protocol import pixels_of
from unlabeled.images.ingest import ingest

SIZE = 224
"""Pixels a side of the stored images: the size that the frozen network was trained on."""
BATCH_SIZE = 32
CHOICES = get_args(Ingestion.model_fields["resize"].annotation)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--bf16", action="store_true", help="the frozen network computes in bfloat16")
    options = parser.parse_args()
    network = frozen(options.weights, options.bf16) if options.weights else None
    config, results = Evaluation(), {}
    print(
        "split | features | resize | linear probe | kNN | " + " | ".join(f"{shots} a class" for shots in config.shots)
    )
    for choice in CHOICES:
        for name, features, manifest in features_of(options.data, choice, network, config):
            for split, labels in {"validation": for_choosing(manifest), "test": Labels.of(manifest)}.items():
                numbers, _ = measure(features, labels, config)
                results[f"{split} {name} {choice}"] = numbers
                few = (numbers["few_label"][str(shots)] for shots in config.shots)
                told = [f"{100 * numbers[f'{kind}_accuracy']:.1f}" for kind in ("linear_probe", "knn")]
                told += [f"{100 * each['mean']:.1f} ± {100 * each['std']:.1f}" for each in few]
                print(" | ".join([split, name, choice, *told]), flush=True)
    print(json.dumps(results))


def features_of(
    data: Path, choice: str, network: Callable[[np.ndarray], np.ndarray] | None, config: Evaluation
) -> Iterator[tuple[str, np.ndarray, pd.DataFrame]]:
    """Each kind of features of the images stored with a choice: its name, float32 (N, D), and the manifest."""
    from sklearn.decomposition import PCA  # a second to import

    with tempfile.TemporaryDirectory() as folder:
        found = ingest(Ingestion(source="image_folder", path=str(data), image_size=SIZE, resize=choice), Path(folder))
        pixels = pixels_of(found.images)
        yield "raw pixels", pixels, found.manifest
        train = (found.manifest.split == "train").to_numpy()
        pca = PCA(config.pca_dims, random_state=config.seed).fit(pixels[train])
        yield "PCA", pca.transform(pixels).astype(np.float32), found.manifest
        if network:
            began = time.perf_counter()
            features = network(found.images)
            print(f"({len(features):,} images embedded in {time.perf_counter() - began:.0f} s)")
            yield "frozen network", features, found.manifest


def for_choosing(manifest: pd.DataFrame) -> Labels:
    """Labels with the validation split in place of the test split, which is left out."""
    labels = Labels.of(manifest)
    return Labels(labels.targets, labels.train, np.empty(0, np.int64), labels.validation, labels.groups)


def frozen(weights: Path, bf16: bool) -> Callable[[np.ndarray], np.ndarray]:
    """A function from uint8 images (N, 3, SIZE, SIZE) to the frozen network's features, float32 (N, 1280)."""
    import timm  # seconds to import

    network = timm.create_model("tf_efficientnet_lite0")
    network.load_state_dict(load_file(weights), strict=True)
    network.reset_classifier(0)
    network.eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def embed(images: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(images), BATCH_SIZE):
            batch = torch.from_numpy(np.array(images[start : start + BATCH_SIZE])).float() / 127.5 - 1
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                parts.append(network(batch.contiguous(memory_format=torch.channels_last)).float().numpy())
        return np.concatenate(parts)

    return embed


if __name__ == "__main__":
    main()
