"""Measures the cost of new images: seconds of ingestion and caching for all images, then with one percent more.

    python benchmarks/incremental.py --images 5000

Photos as in benchmarks/ingestion.py, stored at 96 pixels, 16 crops each. The last line is one JSON object.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median

from ingestion import draw_photos

from unlabeled.config import Augmentation, Ingestion
from unlabeled.images.crops import cache_views
from unlabeled.images.ingest import ingest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5, help="the share is the median over the rounds")
    options = parser.parse_args()
    rounds = []
    for number in range(options.rounds):
        first, again = measured(options.images)
        rounds.append(sum(again.values()) / sum(first.values()))
        print(f"round {number + 1}   " + "   ".join(map(told, (first, again))) + f"   {rounds[-1]:.1%}")
    print(json.dumps({"images": options.images, "rounds": options.rounds, "share": round(median(rounds), 4)}))


def measured(count: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of the two stages with `count` photos, and again with one percent more."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "photos").mkdir()
        draw_photos(folder / "photos", range(0, 2 * count, 2))
        first = timed(folder)
        draw_photos(folder / "photos", range(1, 2 * count, 200))  # their names lie between the others'
        return first, timed(folder)


def told(seconds: dict[str, float]) -> str:
    return f"ingestion {seconds['ingestion']:.2f} s, caching {seconds['caching']:.2f} s"


def timed(folder: Path) -> dict[str, float]:
    """Seconds of ingestion and of caching, including their files."""
    began = time.perf_counter()
    result = ingest(Ingestion(source="image_folder", path=str(folder / "photos")), folder / "stored")
    result.manifest.to_parquet(folder / "stored/manifest.parquet", index=False)
    ingested = time.perf_counter()
    cache_views(result.images, result.manifest.sha256.tolist(), Augmentation(), folder / "stored/crops")
    return {"ingestion": round(ingested - began, 2), "caching": round(time.perf_counter() - ingested, 2)}


if __name__ == "__main__":
    main()
