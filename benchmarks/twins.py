"""Finds near-duplicates of training images among the test images of ingested data, for a person to judge.

    kedro run --pipeline=byol --env=cifar10 --tags=ingestion --params=ingestion.path=/my/cifar10
    python benchmarks/twins.py [--features=data/04_feature/byol.npy] [--sheet=twins.png]

It asks the rule `leakage` (src/unlabeled/evaluation/twins.py) about every test image and its nearest training image.
The sheet shows each pair that the rule takes for the same picture, the least alike last, so that the wrong ones can be
counted. Without `--features`, the nearest image is the nearest by its 8×8 thumbnail.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d

from unlabeled.evaluation.probe import nearest
from unlabeled.evaluation.twins import find_twins

THUMBNAIL = 8
"""Pixels a side of the thumbnails that find the nearest image."""
SHOWN_SIDE, COLUMNS, GAP = 64, 12, 8


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Thumbnails without the mean of each channel, float32 (N, C · THUMBNAIL²)."""
    parts = []
    for start in range(0, len(images), 4096):
        small = adaptive_avg_pool2d(torch.from_numpy(images[start : start + 4096].astype(np.float32)), THUMBNAIL)
        parts.append((small - small.mean((2, 3), keepdim=True)).flatten(1).numpy())
    return np.concatenate(parts)


def sheet(images: np.ndarray, pairs: list[tuple[int, int]]) -> Image.Image:
    """Pairs of images side by side."""
    width, lines = 2 * SHOWN_SIDE + GAP, -(-len(pairs) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * width, lines * (SHOWN_SIDE + GAP)), "white")
    for number, pair in enumerate(pairs):
        left, top = number % COLUMNS * width, number // COLUMNS * (SHOWN_SIDE + GAP)
        for i, row in enumerate(pair):
            pixels = images[row] if len(images[row]) == 3 else np.repeat(images[row][:1], 3, 0)
            shown = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
            page.paste(shown.resize((SHOWN_SIDE, SHOWN_SIDE)), (left + i * SHOWN_SIDE, top))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/02_intermediate"))
    parser.add_argument("--features", type=Path)
    parser.add_argument("--sheet", type=Path, default=Path("twins.png"))
    options = parser.parse_args()
    images = np.load(options.data / "images.npy", mmap_mode="r")
    split = pd.read_parquet(options.data / "manifest.parquet").split.to_numpy()
    test, train = np.flatnonzero(split == "test"), np.flatnonzero(split == "train")
    features = np.load(options.features) if options.features else thumbnails(images)
    _, found = nearest(features, test, train, 1)
    likeness, same = find_twins(images, test, found[:, 0], train)
    order = np.flatnonzero(same)[np.argsort(-likeness[same], kind="stable")]
    if len(order):
        sheet(images, [(test[i], found[i, 0]) for i in order]).save(options.sheet)
    share, where = len(order) / len(test), f": see {options.sheet}" if len(order) else ""
    print(f"{len(order)} of {len(test):,} test images ({share:.1%}) have a twin in training{where}")


if __name__ == "__main__":
    main()
