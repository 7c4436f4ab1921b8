"""Compares the rate of embedding a folder of files with the encoder's own rate on the same images in memory.

    python benchmarks/embed.py [--images=2000] [--size=32] [--encoder=small_resnet] [--format=png] [--side=SIZE]

The files are smooth noise of `side` pixels (by default the encoder's size), as PNG or JPEG. Four variants take turns,
and the medians over the rounds are reported: `embed_folder`, which reads, decodes, embeds and writes Parquet;
`encoder.embed` of the decoded array in batches of the same size, and in batches of 256; and the decoder alone, which
shares the cores of a CPU with the encoder. The last line is a JSON object.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from unlabeled.downstream.embed import embed_folder
from unlabeled.downstream.model import LoadedModel
from unlabeled.encoders import read_encoder
from unlabeled.evaluation.probe import LinearProbe
from unlabeled.images.decode import decode
from unlabeled.images.encoder import ImageEncoder, Normalisation

CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--side", type=int, help="side of the files in pixels; by default --size")
    parser.add_argument("--encoder", default="small_resnet")
    parser.add_argument("--format", choices=["png", "jpg"], default="png")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.images < 1 or options.rounds < 1:
        sys.exit("Error: --images and --rounds have to be 1 at least")
    encoder = ImageEncoder(options.encoder, 3, options.size, Normalisation((0.5,) * 3, (0.25,) * 3))
    weights = np.random.default_rng(0).normal(size=(CLASSES, encoder.feature_dim)).astype(np.float32)
    probe = LinearProbe(weights, np.zeros(CLASSES, np.float32), np.arange(CLASSES), 1.0)
    with tempfile.TemporaryDirectory(prefix="unlabeled-") as place:
        folder, output = Path(place, "images"), Path(place, "out", "embeddings.parquet")
        files = draw(folder, options.images, options.side or options.size, options.format)
        encoder.save(Path(place, "encoder.safetensors"))
        model = LoadedModel(read_encoder(Path(place, "encoder.safetensors")), probe, "0123456789")
        images = np.stack([decode(file.read_bytes(), options.size, 3).pixels for file in files])
        sides = {
            "decoder": lambda: decode_only(files, options.size),
            "encoder": lambda: model.encoder.embed(images),
            "encoder_by_256": lambda: model.encoder.embed(images, 256),
            "embed": lambda: embed_folder(model, folder, output),
        }
        rates = measure(sides, len(files), options.rounds)
    ratio = median(ours / its for ours, its in zip(rates["embed"], rates["encoder"], strict=True))
    print(f"embed reaches {ratio:.1%} of the encoder's own rate")
    result = {f"{side}_images_per_second": round(median(each), 1) for side, each in rates.items()}
    about = {"images": len(files), "size": options.size, "format": options.format, "cores": os.cpu_count()}
    print(json.dumps({"ratio": round(ratio, 4), **result, **about}))


def draw(folder: Path, count: int, side: int, kind: str) -> list[Path]:
    """Writes `count` files of smooth noise, and returns their paths."""
    folder.mkdir()
    random, files = np.random.default_rng(0), []
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        files.append(folder / f"{number:06d}.{kind}")
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(files[-1], quality=90)
    return files


def decode_only(files: list[Path], size: int) -> None:
    """Reads and decodes the files on all cores, and discards the pixels."""

    def work(part: list[Path]) -> None:
        for file in part:
            decode(file.read_bytes(), size, 3)

    cores = os.cpu_count()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(work, [files[core::cores] for core in range(cores)]))


def measure(sides: dict[str, Callable[[], object]], count: int, rounds: int) -> dict[str, list[float]]:
    """Images per second of each variant in each round, after one round of warm-up."""
    rates = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side in sorted(sides, reverse=number % 2):
            began = time.perf_counter()
            sides[side]()
            rates[side].append(count / (time.perf_counter() - began))
        print("   ".join(f"{side} {rate[-1]:7,.0f} images/s" for side, rate in rates.items()), flush=True)
    return {side: each[1:] for side, each in rates.items()}


if __name__ == "__main__":
    main()
