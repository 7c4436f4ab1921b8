"""Measures what cached crops cost and save: K = 4, 16, 64 and fresh, on digits and on photos of 500 pixels.

    python benchmarks/views.py digits [--seeds=3]    # accuracy, seconds, bytes: the default recipe, one training a row
    python benchmarks/views.py photos [--photos=500] # images/s that each way supplies, two views an image

Accuracies are on the validation split, by which choices are made: linear probe, kNN, and one label a class over ten
draws; mean ± std over the seeds. The last line is a JSON list of the rows.
"""

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from unlabeled.config import Augmentation, Evaluation, Ingestion, Pretraining
from unlabeled.evaluation.probe import Labels, measure
from unlabeled.images.crops import cache_views
from unlabeled.images.encoder import Normalisation
from unlabeled.images.ingest import Ingested, ingest
from unlabeled.images.pretrain import pretrain_encoder
from unlabeled.images.views import Views

CONF = Path(__file__).resolve().parents[1] / "conf/base"
WAYS = (4, 16, 64, "fresh")
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=["digits", "photos"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.data == "digits":
            rows = list(on_digits(options.seeds, Path(folder)))
        else:
            rows = list(on_photos(options.photos, Path(folder)))
    print(json.dumps(rows))


def on_digits(seeds: int, folder: Path):
    shared = yaml.safe_load((CONF / "parameters.yml").read_text())
    own = yaml.safe_load((CONF / "parameters_byol.yml").read_text())["byol"]["pretraining"]
    ingested = ingest(Ingestion(), folder)
    for way in WAYS:
        recipe = Augmentation.model_validate(shared["augmentation"] | {"views": way})
        began = time.perf_counter()
        views = cache_views(ingested.images, ingested.manifest.sha256.tolist(), recipe, folder / "crops")
        caching, measured = time.perf_counter() - began, []
        for seed in range(seeds):
            config = Pretraining.model_validate(shared["pretraining"] | own | {"seed": seed})
            measured.append(validated(ingested, views, config, recipe))
        numbers = {"views": way, "caching_seconds": round(caching, 2), "bytes": int(views.nbytes), "seeds": seeds}
        for key in measured[0]:
            values = [m[key] for m in measured]
            numbers[key] = [round(statistics.mean(values), 4), round(statistics.stdev(values), 4) if seeds > 1 else 0.0]
        print(numbers, flush=True)
        yield numbers


def validated(ingested: Ingested, views: np.ndarray, config: Pretraining, recipe: Augmentation) -> dict[str, float]:
    """Accuracies on the validation split; test images are excluded."""
    manifest = ingested.manifest
    encoder, history, _ = pretrain_encoder("byol", ingested.images, views, manifest, ingested.summary, config, recipe)
    held_out = manifest.assign(split=manifest.split.replace({"test": "excluded", "validation": "test"}))
    numbers, _ = measure(encoder.embed(ingested.images), Labels.of(held_out), Evaluation())
    return {
        "linear_probe": numbers["linear_probe_accuracy"],
        "knn": numbers["knn_accuracy"],
        "one_label": numbers["few_label"]["1"]["mean"],
        "seconds": history[-1]["seconds"],
    }


def on_photos(count: int, folder: Path):
    """Rates of two views of 96 pixels an image, from synthetic JPEG photos of 500 × 500 pixels."""
    (folder / "photos").mkdir()
    for i in range(count):
        Image.fromarray(photo(i)).save(folder / "photos" / f"{i}.jpg", quality=90)
    files = sum(path.stat().st_size for path in (folder / "photos").iterdir())
    config = Ingestion(source="image_folder", path=str(folder / "photos"), image_size=500)
    ingested = ingest(config, folder / "stored")
    stored, contents = ingested.images, ingested.manifest.sha256.tolist()
    normalisation = Normalisation((0.5,) * 3, (0.25,) * 3)
    for way in WAYS:
        recipe = Augmentation(views=way, crop_size=96, blur=(1.0, 0.1))
        began = time.perf_counter()
        cache = cache_views(stored, contents, recipe, folder / "crops")
        caching = time.perf_counter() - began
        views = Views(
            stored if way == "fresh" else cache,
            np.arange(count),
            recipe,
            normalisation,
            count=2,
            batch_size=50,
            seed=0,
            device=CPU,
        )
        size = int((stored if way == "fresh" else cache).nbytes)
        yield row(way, supply(views.batch, views.steps_per_epoch, 50), caching, size)
    paths = sorted((folder / "photos").iterdir())
    recipe = Augmentation(views="fresh", crop_size=96, blur=(1.0, 0.1))
    yield row("decoded at each use", supply(decoding(paths, recipe, normalisation), count // 50, 50), 0.0, files)


def row(way, rate: float, caching: float, size: int) -> dict:
    numbers = {"views": way, "images_per_second": round(rate, 1), "caching_seconds": round(caching, 2), "bytes": size}
    print(numbers, flush=True)
    return numbers


def supply(batch, steps: int, size: int) -> float:
    """Images/s over two epochs, after one epoch of warm-up."""
    for step in range(steps):
        batch(step)
    began = time.perf_counter()
    for step in range(steps, 3 * steps):
        batch(step)
    return 2 * steps * size / (time.perf_counter() - began)


def decoding(paths: list[Path], recipe: Augmentation, normalisation: Normalisation):
    """A function that returns a batch of views, whose photos it decodes on all cores at each use."""
    pool = ThreadPoolExecutor(os.cpu_count())

    def decode(path: Path) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB")).transpose(2, 0, 1)

    def batch(step: int) -> torch.Tensor:
        chosen = [paths[(step * 50 + i) % len(paths)] for i in range(50)]
        photos = np.stack(list(pool.map(decode, chosen)))
        views = Views(photos, np.arange(50), recipe, normalisation, count=2, batch_size=50, seed=step, device=CPU)
        return views.batch(0)[0]

    return batch


def photo(seed: int) -> np.ndarray:
    """Smooth colours and a little noise, uint8 (H, W, 3), which take as long to decode from JPEG as a photo."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((500, 500), Image.Resampling.BICUBIC), np.int16)
    return (smooth + generator.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
