"""Pretraining on packed sequences, by the same loop as for images."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer

from unlabeled.config import Pretraining
from unlabeled.errors import TrainingError
from unlabeled.evaluation.monitor import MAX_MONITORED_IMAGES, embedding_monitor
from unlabeled.method import Method, load_method
from unlabeled.nn.transformer import SIZES, Transformer
from unlabeled.records import Summary
from unlabeled.text.config import Packing, TextPretraining
from unlabeled.text.encoder import TextEncoder
from unlabeled.text.ingest import texts_of
from unlabeled.text.method import TextMethod
from unlabeled.text.packing import Sequences, pack
from unlabeled.training.devices import choose_device
from unlabeled.training.history import Monitor, Report, tell
from unlabeled.training.loop import pretrain
from unlabeled.training.setup import as_config_error, constants_of, fingerprint_of, tentatively


def pretrain_encoder(
    method: str,
    sequences: np.ndarray,
    manifest: pd.DataFrame,
    tokenizer: Tokenizer,
    summary: Summary,
    config: TextPretraining,
    recipe: Packing,
    *,
    resume: Path | None = None,
    report: Report | None = None,
) -> tuple[TextEncoder, list[dict[str, float]]]:
    """Trains the named method on the packed train split. Returns the encoder, and one row of metrics for each epoch.

    Args:
        sequences: Packed rows, as `packing.pack` returns them.
        manifest: Its `target` serves only the kNN monitor.
        resume: See `train.pretrain`.

    Raises:
        ConfigError, TrainingError: The parameters do not allow a training, or it failed.
    """
    kind: type[TextMethod] = load_method(method)
    device = choose_device(config.device)
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        with as_config_error():
            encoder = TextEncoder(config.encoder, tokenizer, kind.context(recipe.sequence_length), kind.causal)
            model = kind(encoder.network, **constants_of(method, config))
    supply = Sequences(
        sequences,
        recipe.sequence_length,
        pairs=kind.pairs,
        batch_size=config.batch_size,
        seed=config.seed,
        device=device,
    )
    if not supply.steps_per_epoch:
        raise TrainingError(
            f"pretraining.batch_size: received {config.batch_size}, but the documents make fewer sequences of "
            f"{recipe.sequence_length} tokens ({sequences.size:,} tokens in all): lower it or "
            f"augmentation.sequence_length, or add documents"
        )
    history = pretrain(
        model,
        supply,
        config,
        resume=resume,
        fingerprint=fingerprint(method, summary, config, recipe),
        monitor=_monitor(encoder, manifest, supply),
        report=report,
    )
    tell(history, supply.unit)
    return encoder, history


def check(method: str, config: TextPretraining, recipe: Packing) -> None:
    """Raises ConfigError or TrainingError for mistakes that can be found before there are documents."""
    choose_device(config.device)
    kind = load_method(method)
    constants = constants_of(method, config)
    with tentatively(), as_config_error():
        kind(Transformer(config.encoder, 300, kind.context(recipe.sequence_length), kind.causal), **constants)


def fingerprint(method: str, summary: Summary, config: Pretraining, recipe: Packing) -> str:
    """Digest of everything that decides the weights, so that a checkpoint is resumed only where it leads to the same
    ones."""
    return fingerprint_of(method, summary, config, recipe, size=SIZES[config.encoder])


def _monitor(encoder: TextEncoder, manifest: pd.DataFrame, supply: Sequences) -> Monitor:
    """A monitor with the measurements of `embedding_monitor`, and the loss on the validation split."""
    measure = embedding_monitor(
        encoder, lambda rows: manifest.text.iloc[rows].tolist(), manifest, MAX_MONITORED_IMAGES // 4
    )
    unseen = Sequences(
        pack(texts_of(manifest, "validation"), encoder.tokenizer, supply.length),
        supply.length,
        pairs=supply.pairs,
        batch_size=8,
        seed=supply.seed,
        device=supply.device,
    )

    def watch(method: Method) -> dict[str, float]:
        measured = measure()
        if unseen.steps_per_epoch:
            measured["validation_loss"] = _unseen_loss(method, unseen)
        return measured

    return watch


@torch.no_grad()
def _unseen_loss(method: Method, unseen: Sequences) -> float:
    """Mean loss over the first epoch of batches, with the same random draws each time."""
    method.eval()
    with torch.random.fork_rng([unseen.device] if unseen.device.type == "cuda" else []):
        torch.manual_seed(0)
        losses = [method(*unseen.batch(step)).item() for step in range(unseen.steps_per_epoch)]
    method.train()
    return float(np.mean(losses))
