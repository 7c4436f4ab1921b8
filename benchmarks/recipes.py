"""Compares recipes on images that their encoders have not seen: by folds of train and validation, never on test.

    python benchmarks/recipes.py simclr "" pretraining.method.temperature=0.5 pretraining.epochs=64,augmentation.views=4
        [--folds=3] [--seeds=1] [--env=base]

Each recipe is what it changes of the method's own, as for `kedro run --params`; "" changes nothing. For each fold a
network is trained on the other folds, and probed on the one held out: accuracies are means over folds and seeds, ± the
standard deviation over the seeds. One thread a training, as many trainings at a time as there are cores. The last line
is a JSON object.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf

from unlabeled.config import Augmentation, Evaluation, Ingestion, Pretraining
from unlabeled.crops import cache_views
from unlabeled.ingest import ingest
from unlabeled.methods import IMAGE_METHODS
from unlabeled.pretrain import pretrain_encoder
from unlabeled.probe import Labels, measure
from unlabeled.progress import be_quiet

CONF = Path(__file__).resolve().parents[1] / "conf"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=[*IMAGE_METHODS])
    parser.add_argument("recipes", nargs="+", help="what each changes, as for --params")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--env", default="base")
    options = parser.parse_args()
    jobs = list(product(options.recipes, range(options.seeds), range(options.folds)))
    table: dict[str, list[dict[str, float]]] = {}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        done = pool.map(held_out, *zip(*((options, *job) for job in jobs), strict=True))
        for recipe in options.recipes:
            by_seed = [mean([next(done) for _ in range(options.folds)]) for _ in range(options.seeds)]
            table[recipe] = by_seed
            print(recipe or "as it is", *(told(name, by_seed) for name in by_seed[0]), sep=" | ", flush=True)
    print(json.dumps(table))


def held_out(options: argparse.Namespace, recipe: str, seed: int, fold: int) -> dict[str, float]:
    """Accuracies on one fold of an encoder that was trained on the others."""
    torch.set_num_threads(1)
    be_quiet()
    parameters = OmegaConf.to_container(
        OmegaConf.merge(*layers(options), OmegaConf.from_dotlist([*filter(None, recipe.split(","))]))
    )
    augmentation = Augmentation.model_validate(parameters["augmentation"])
    config = Pretraining.model_validate(parameters["pretraining"] | {"seed": seed})
    evaluation = Evaluation.model_validate(parameters["evaluation"])
    with tempfile.TemporaryDirectory() as folder:
        ingested = ingest(Ingestion.model_validate(parameters["ingestion"]), Path(folder))
        manifest = ingested.manifest
        ours = np.flatnonzero(manifest.split.isin(["train", "validation"]))
        split = np.full(len(manifest), "excluded", dtype=object)
        split[ours] = np.where(np.arange(len(ours)) % options.folds == fold, "test", "train")
        manifest = manifest.assign(split=split)
        views = cache_views(ingested.images, manifest.sha256.tolist(), augmentation, Path(folder, "crops"))
        data = ingested.images, views, manifest, ingested.summary
        encoder, history, _ = pretrain_encoder(options.method, *data, config, augmentation)
        numbers, _ = measure(encoder.embed(ingested.images), Labels.of(manifest), evaluation)
    few = {f"{name} a class": each["mean"] for name, each in numbers["few_label"].items() if "%" not in name}
    accuracies = {"linear probe": numbers["linear_probe_accuracy"], "kNN": numbers["knn_accuracy"], **few}
    return {name: 100 * value for name, value in accuracies.items()} | {"seconds": history[-1]["seconds"]}


def layers(options: argparse.Namespace) -> Iterator[OmegaConf]:
    """The shared blocks and the method's own, of the base and of the environment."""
    for folder in dict.fromkeys(["base", options.env]):
        if (shared := CONF / folder / "parameters.yml").exists():
            yield OmegaConf.load(shared)
        if (own := CONF / folder / f"parameters_{options.method}.yml").exists():
            yield OmegaConf.load(own)[options.method]


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.mean(row[name] for row in rows) for name in rows[0]}


def told(name: str, rows: list[dict[str, float]]) -> str:
    values = [row[name] for row in rows]
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{name} {statistics.mean(values):.1f}{spread}"


if __name__ == "__main__":
    main()
