"""From packed sequences to a trained encoder: the same loop as for images."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer

from unlabeled import health
from unlabeled.arrays import spread
from unlabeled.config import Evaluation, Pretraining
from unlabeled.errors import TrainingError
from unlabeled.methods import load_method
from unlabeled.pretrain import WATCHED, as_config_error, constants_of
from unlabeled.probe import Labels, knn_accuracy
from unlabeled.text.config import Packing, TextPretraining
from unlabeled.text.encoder import TextEncoder
from unlabeled.text.ingest import texts_of
from unlabeled.text.method import TextMethod
from unlabeled.text.network import SIZES, Transformer
from unlabeled.text.packing import Sequences, pack
from unlabeled.train import Monitor, Report, choose_device, pretrain, summary_of

logger = logging.getLogger(__name__)


def pretrain_encoder(
    method: str,
    rows: np.ndarray,
    manifest: pd.DataFrame,
    tokenizer: Tokenizer,
    summary: dict[str, Any],
    config: TextPretraining,
    recipe: Packing,
    *,
    resume: Path | None = None,
    report: Report | None = None,
) -> tuple[TextEncoder, list[dict[str, float]]]:
    """Trains the method of that name on the packed train split; the encoder, and a row of metrics an epoch.

    Args:
        rows: As `packing.pack` makes them.
        manifest: Its `target` serves the kNN monitor alone.
        resume: See `train.pretrain`.

    Raises:
        ConfigError, TrainingError: What cannot be trained, and what went wrong on the way.
    """
    kind: type[TextMethod] = load_method(method)
    device = choose_device(config.device)
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        with as_config_error():
            encoder = TextEncoder(config.encoder, tokenizer, kind.context(recipe.sequence_length), kind.causal)
            model = kind(encoder.network, **constants_of(method, config))
    drawn = {"pairs": kind.pairs, "batch_size": config.batch_size, "seed": config.seed, "device": device}
    supply = Sequences(rows, recipe.sequence_length, **drawn)
    if not supply.steps_per_epoch:
        raise TrainingError(
            f"pretraining.batch_size: received {config.batch_size}, but the documents make fewer sequences of "
            f"{recipe.sequence_length} tokens ({rows.size:,} tokens in all): lower it or "
            f"augmentation.sequence_length, or add documents"
        )
    history = pretrain(
        model,
        supply,
        config,
        resume=resume,
        fingerprint=fingerprint(method, summary, config, recipe),
        monitor=_monitor(encoder, manifest, recipe, drawn),
        report=report,
    )
    told = summary_of(history[-1], supply.unit)
    logger.info("trained for %d epochs in %.0f s%s", config.epochs, history[-1]["seconds"], told)
    return encoder, history


def check(method: str, config: TextPretraining, recipe: Packing) -> None:
    """Raises ConfigError or TrainingError for what is known to be wrong before there are documents."""
    choose_device(config.device)
    kind = load_method(method)
    constants = constants_of(method, config)
    with torch.device("meta"), as_config_error():  # shapes without numbers: neither time nor memory
        kind(Transformer(config.encoder, 300, kind.context(recipe.sequence_length), kind.causal), **constants)


def fingerprint(method: str, summary: dict[str, Any], config: Pretraining, recipe: Packing) -> str:
    """Of all that decides the weights, so that nothing is resumed that would end in others."""
    what = {
        "method": method,
        "data": summary["data_digest"],
        "torch": torch.__version__,
        "size": SIZES[config.encoder],
        "config": config.model_dump(exclude={"monitor_every", "checkpoint_seconds", "min_embedding_std"}),
        "recipe": recipe.model_dump(),
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _monitor(encoder: TextEncoder, manifest: pd.DataFrame, recipe: Packing, drawn: dict[str, Any]) -> Monitor:
    """The loss on the validation split, kNN accuracy there, and the health of the embedding of a fixed sample."""
    sampled = np.concatenate(
        [spread(np.flatnonzero(manifest.split == split), WATCHED // 4) for split in ("train", "validation")]
    )
    labels, texts = Labels.of(manifest.iloc[sampled]), manifest.text.iloc[sampled].tolist()
    train = np.flatnonzero(manifest.split.iloc[sampled] == "train")
    can_vote = len(labels.validation) > 0 and len(labels.train) > 0
    unseen = Sequences(
        pack(texts_of(manifest, "validation"), encoder.tokenizer, recipe.sequence_length),
        recipe.sequence_length,
        **{**drawn, "batch_size": 8},
    )

    def watch(method: TextMethod) -> dict[str, float]:
        features = encoder.embed(texts)
        embedding = torch.from_numpy(features[train])
        measured = {"embedding_std": health.embedding_std(embedding), "rankme": health.rankme(embedding)}
        if can_vote:
            measured["knn_accuracy"] = knn_accuracy(features, labels, Evaluation(), on="validation")
        if unseen.steps_per_epoch:
            measured["validation_loss"] = _unseen_loss(method, unseen)
        return measured

    return watch


@torch.no_grad()
def _unseen_loss(method: TextMethod, unseen: Sequences) -> float:
    """Mean over the first epoch of batches, by draws that are the same each time."""
    method.eval()
    with torch.random.fork_rng([unseen.device] if unseen.device.type == "cuda" else []):
        torch.manual_seed(0)
        losses = [method(*unseen.batch(step)).item() for step in range(unseen.steps_per_epoch)]
    method.train()
    return float(np.mean(losses))
