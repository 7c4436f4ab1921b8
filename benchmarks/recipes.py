"""Compares recipes by cross-validation on the train and validation splits, never on test.

    python -m benchmarks.recipes simclr "" pretraining.method.temperature=0.5 pretraining.epochs=64,augmentation.views=4
        [--folds=3] [--seeds=1] [--env=local]

A recipe lists parameters that it overrides, as for `kedro run --params`; "" overrides none. For each fold a network is
trained on the other folds, and probed on the held-out one. Accuracies are means over folds, ± the standard deviation
over the seeds. Each training has one thread, and as many run at a time as there are cores. The last line is a JSON
object.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import OmegaConf

from benchmarks.results import scores, spread
from pipelines.parameters import MethodConfigLoader
from pipelines.settings import CONFIG_LOADER_ARGS
from unlabeled.catalogue import IMAGE_METHODS
from unlabeled.config import Augmentation, Evaluation, Ingestion, Pretraining
from unlabeled.errors import ConfigError, UnlabeledError
from unlabeled.evaluation.probe import Labels, cross_entropy, measure
from unlabeled.images.crops import cache_views, open_views
from unlabeled.images.ingest import ingest
from unlabeled.images.pretrain import check, pretrain_encoder
from unlabeled.runtime.progress import be_quiet

CONF = Path(__file__).resolve().parents[1] / "conf"
BLOCKS = (Ingestion, Augmentation, Pretraining, Evaluation)
CROSS_ENTROPY = "cross entropy"
"""Metric: cross entropy of the linear probe on the fold, in thousandths of a nat, at the middle of its regularisations.
It distinguishes recipes where few errors are left."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=[*IMAGE_METHODS])
    parser.add_argument("recipes", nargs="+", help="parameters that each overrides, as for --params")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--env")
    options = parser.parse_args()
    if options.folds < 2 or options.seeds < 1:
        parser.error("expected two folds at least, and one seed")
    try:
        print(json.dumps(dict(compared(options))))
    except UnlabeledError as error:
        sys.exit(str(error))


def compared(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, tuple[float, float]]]]:
    """Pairs of recipe and its metrics: mean and std over the seeds. Raises ConfigError before any training."""
    recipes = {recipe: blocks_of(recipe, options.method, options.env) for recipe in options.recipes}
    be_quiet()
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        pending = {}
        for number, (recipe, blocks) in enumerate(recipes.items()):
            data = prepared(blocks, Path(folder, str(number)))
            jobs = product(range(options.seeds), range(options.folds))
            pending[recipe] = [pool.submit(held_out, options, blocks, *data, *job) for job in jobs]
        for recipe, futures in pending.items():
            metrics = [future.result() for future in futures]
            seeds = [metrics[i : i + options.folds] for i in range(0, len(metrics), options.folds)]
            row = spread(over_seeds(seeds))
            cells = (f"{name} {m:.1f}" + (f" ± {s:.1f}" if len(seeds) > 1 else "") for name, (m, s) in row.items())
            print(recipe or "as it is", *cells, sep=" | ", flush=True)
            yield recipe, row


def blocks_of(recipe: str, method: str, env: str | None) -> dict[str, Any]:
    """The parameters of a recipe by block, merged as by `kedro run --params`."""
    return merged(OmegaConf.to_container(OmegaConf.from_dotlist([*filter(None, recipe.split(","))])), method, env)


def merged(given: dict[str, Any], method: str, env: str | None) -> dict[str, Any]:
    """The parameters of an environment by block, overridden by given ones, which are nested as in its files."""
    if unknown := given.keys() - {kind.block for kind in BLOCKS} - {method}:
        raise ConfigError(f"received {min(unknown)}, expected {', '.join(kind.block for kind in BLOCKS)}")
    loader = MethodConfigLoader(str(CONF), env=env, runtime_params=given, **CONFIG_LOADER_ARGS)
    parameters = loader["parameters"]
    parameters |= parameters[method]
    blocks = {kind.block: kind.model_validate(parameters[kind.block]) for kind in BLOCKS}
    check(method, blocks["pretraining"], blocks["augmentation"].crop_size)
    return blocks


def prepared(blocks: dict[str, Any], folder: Path) -> tuple[Path, pd.DataFrame, dict[str, Any]]:
    """Ingests images and caches their crops in `folder`; returns the folder, the manifest and the summary."""
    folder.mkdir()
    ingested = ingest(blocks["ingestion"], folder)
    cache_views(ingested.images, ingested.manifest.sha256.tolist(), blocks["augmentation"], folder / "crops")
    return folder, ingested.manifest, ingested.summary


def held_out(
    options: argparse.Namespace,
    blocks: dict[str, Any],
    folder: Path,
    manifest: pd.DataFrame,
    summary: dict[str, Any],
    seed: int,
    fold: int,
) -> dict[str, Any]:
    """Trains an encoder on all folds but one; returns the metrics on that fold, and the seconds of the training."""
    torch.set_num_threads(1)
    be_quiet()
    ours = np.flatnonzero(manifest.split.isin(["train", "validation"]))
    split = np.full(len(manifest), "excluded", dtype=object)
    split[ours] = np.where(np.arange(len(ours)) % options.folds == fold, "test", "train")
    manifest = manifest.assign(split=split)
    images, views = np.load(folder / "images.npy", mmap_mode="r"), open_views(folder / "crops")
    config = blocks["pretraining"].model_copy(update={"seed": seed})
    data = images, views, manifest, summary
    encoder, history, _ = pretrain_encoder(options.method, *data, config, blocks["augmentation"])
    features, labels = encoder.embed(images), Labels.of(manifest)
    metrics, probe = measure(features, labels, blocks["evaluation"])
    loss = cross_entropy(probe, features[labels.test], labels.targets[labels.test])
    return metrics | {CROSS_ENTROPY: 1000 * loss, "seconds": history[-1]["seconds"]}


def over_seeds(seeds: list[list[dict[str, Any]]]) -> dict[str, list[float]]:
    """Means over the folds, one for each seed: accuracies in %, the probe's cross entropy, and seconds."""
    means = [{name: 100 * statistics.mean(values) for name, values in scores(folds).items()} for folds in seeds]
    accuracies = {name: [each[name] for each in means] for name in means[0]}
    for name in (CROSS_ENTROPY, "seconds"):
        accuracies[name] = [statistics.mean(fold[name] for fold in folds) for folds in seeds]
    return accuracies


if __name__ == "__main__":
    main()
