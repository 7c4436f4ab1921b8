"""Compares the rate of ingesting JPEG photos with the decoder's on all cores; measures peak memory at N/4 and N photos.

    python benchmarks/ingestion.py --images 10000

The photos are synthetic, so that no download is needed: 500×375 pixels, JPEG quality 90, about 55 kB each. 200 scenes
of smooth noise at all scales, shapes and grain are drawn once; each photo is one of them shifted, mirrored and
brightened, so that no two files are equal and 10,000 take about a minute.

Decoder and ingestion read the same files from the page cache, take turns, and report the median over the rounds. The
decoder reads and decodes with one thread a core and discards the pixels; ingestion also hashes, splits, sums and
writes. The last line is a JSON object.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image, ImageDraw

from unlabeled.config import Ingestion
from unlabeled.images.choices import LARGEST_CHOSEN_SIZE
from unlabeled.images.decode import decode
from unlabeled.images.ingest import ingest
from unlabeled.runtime.progress import bar

WIDTH, HEIGHT, QUALITY = 500, 375, 90
SCENES = 200
CHUNK = 50
"""Number of photos that a process draws at a time."""


@cache
def scene(number: int) -> np.ndarray:
    """A scene, uint8 (H, W, 3): noise whose amplitude falls with its frequency as in photos, some shapes, and grain."""
    random = np.random.default_rng(number)
    canvas = np.full((HEIGHT, WIDTH, 3), 128, np.float32)
    for cells in (3, 6, 12, 24, 48, 96):
        noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        canvas += (np.asarray(noise.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.float32) - 128) * (2 / cells)
    image = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, size = random.integers(0, (WIDTH, HEIGHT, 150))
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape((x, y, x + size, y + size), fill=tuple(map(int, random.integers(0, 256, 3))))
    grain = random.normal(0, 5, (HEIGHT, WIDTH, 1))
    return (np.asarray(image) + grain).clip(0, 255).astype(np.uint8)


def draw_photos(folder: Path, numbers: range) -> int:
    """Writes the photos with these numbers; returns their count."""
    for number in numbers:
        random = np.random.default_rng(number)
        pixels = np.roll(scene(number % SCENES), random.integers(0, (HEIGHT, WIDTH)), (0, 1))
        pixels = pixels[:, :: random.choice((-1, 1))]
        brightened = np.arange(256) * random.uniform(0.7, 1.3)
        image = Image.fromarray(pixels).point(3 * brightened.astype(int).clip(0, 255).tolist())
        image.save(folder / f"{number:06d}.jpg", quality=QUALITY)
    return len(numbers)


def draw_all(root: Path, count: int) -> None:
    """Draws all photos, the first quarter into a folder of its own."""
    quarter = count // 4
    for folder in ("quarter", "rest"):
        (root / folder).mkdir(parents=True)
    chunks = [
        (root / folder, numbers[start : start + CHUNK])
        for folder, numbers in (("quarter", range(quarter)), ("rest", range(quarter, count)))
        for start in range(0, len(numbers), CHUNK)
    ]
    context = multiprocessing.get_context("spawn")
    with bar("drawing", count, "photos") as progress, ProcessPoolExecutor(mp_context=context) as pool:
        for drawn in pool.map(draw_photos, *zip(*chunks, strict=True)):
            progress.advance(drawn)


def decode_only(files: list[Path]) -> None:
    """Reads and decodes on every core, and keeps nothing."""

    def work(part: list[Path]) -> None:
        for file in part:
            decode(file.read_bytes(), LARGEST_CHOSEN_SIZE, 3)

    cores = os.cpu_count()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(work, [files[core::cores] for core in range(cores)]))


def ingest_only(root: Path, out: Path) -> None:
    config = Ingestion(source="image_folder", path=str(root))
    ingested = ingest(config, out)
    assert ingested.images.shape[1:] == (3, LARGEST_CHOSEN_SIZE, LARGEST_CHOSEN_SIZE) and ingested.quarantine.empty


def peak_of_ingestion(root: Path, out: Path) -> float:
    """Peak memory of this process in MiB after ingestion. Call it in a new process."""
    ingest_only(root, out)
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would include the parent's memory before exec
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure_peak(root: Path, out: Path) -> float:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(peak_of_ingestion, root, out).result()


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=10_000, help="photos to ingest, 8 at least")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.images < 8 or options.rounds < 1:
        sys.exit("Error: --images has to be 8 at least, and --rounds 1")
    with tempfile.TemporaryDirectory(prefix="unlabeled-") as folder:
        photos, out = Path(folder, "photos"), Path(folder, "out")
        draw_all(photos, options.images)
        files = sorted(photos.rglob("*.jpg"))
        size = sum(file.stat().st_size for file in files) / len(files)
        print(f"{len(files):,} photos of {WIDTH}×{HEIGHT}, {size / 1e3:.0f} kB each, on {os.cpu_count()} cores")
        sides = {"decoder": lambda: decode_only(files), "ingestion": lambda: ingest_only(photos, out)}
        rates = {side: [] for side in sides}
        decode_only(files)  # fills the page cache
        for number in range(options.rounds):
            for side in sorted(sides, reverse=number % 2):
                rates[side].append(len(files) / seconds(sides[side]))
            latest = "   ".join(f"{side} {rate[-1]:7,.0f} images/s" for side, rate in rates.items())
            print(f"round {number + 1}   {latest}", flush=True)
        peaks = measure_peak(photos / "quarter", out), measure_peak(photos, out)
    decoder, ours = median(rates["decoder"]), median(rates["ingestion"])
    print(f"ingestion reaches {ours / decoder:.1%} of the decoder's own rate")
    print(f"peak memory {peaks[0]:.0f} MiB at {len(files) // 4:,} photos, {peaks[1]:.0f} MiB at {len(files):,}")
    result = {
        "images_per_second": round(ours, 1),
        "decoder_images_per_second": round(decoder, 1),
        "ratio": round(ours / decoder, 4),
        "peak_mib_quarter": round(peaks[0], 1),
        "peak_mib": round(peaks[1], 1),
        "images": len(files),
        "cores": os.cpu_count(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
