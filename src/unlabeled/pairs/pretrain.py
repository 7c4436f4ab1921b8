"""Pretraining on cached views and captions: trains two towers by the same loop as for images."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer
from torch import Tensor

from unlabeled.evaluation import health
from unlabeled.evaluation.monitor import MAX_MONITORED_IMAGES, embedding_monitor
from unlabeled.evaluation.retrieval import recall
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.images.pretrain import DIVISIBLE_SIDE, checked_views, fingerprint
from unlabeled.images.views import Views
from unlabeled.method import Method, load_method
from unlabeled.nn.transformer import Transformer
from unlabeled.pairs.captions import Captions, Group, cutting, grouped
from unlabeled.pairs.config import PairAugmentation, PairPretraining
from unlabeled.pairs.towers import PairEncoder, Towers
from unlabeled.records import Summary
from unlabeled.storage.arrays import Rows, spread
from unlabeled.text.encoder import TextEncoder
from unlabeled.training.batches import Order
from unlabeled.training.devices import choose_device
from unlabeled.training.history import Monitor, Report, tell
from unlabeled.training.loop import pretrain
from unlabeled.training.setup import as_config_error, constants_of, rows_to_train_on, tentatively


class CaptionedViews:
    """Batches of one view of each image and its caption; batch `step` is a pure function of (seed, step)."""

    unit = "pairs"

    def __init__(self, views: Views, captions: Captions, rows: np.ndarray, seed: int):
        self.device, self.batch_size, self.steps_per_epoch = views.device, views.batch_size, views.steps_per_epoch
        self._views, self._captions = views, captions
        self._order = Order(rows, views.batch_size, seed)  # same order as of the views, here on the CPU

    def batch(self, step: int) -> tuple[Tensor | Group, ...]:
        """Views (B, C, h, w), float32, normalised; and the captions of the batch, in groups."""
        rows = self._order.at(step).numpy()
        return *self._views.batch(step), *grouped(self._captions, rows, self.device)


def pretrain_encoder(
    method: str,
    images: np.ndarray,
    views: np.ndarray | Rows,
    captions: Captions,
    manifest: pd.DataFrame,
    tokenizer: Tokenizer,
    summary: Summary,
    config: PairPretraining,
    recipe: PairAugmentation,
    *,
    resume: Path | None = None,
    report: Report | None = None,
) -> tuple[PairEncoder, list[dict[str, float]]]:
    """Trains the named method on the train split. Returns the encoder, and one row of metrics for each epoch.

    Args:
        images: uint8 (N, C, H, W).
        views: uint8 (N, K, C, h, w).
        captions: Captions of the N images.
        manifest: Its `target` serves only the kNN monitor.
        resume: See `train.pretrain`.

    Raises:
        ConfigError, TrainingError: The parameters do not allow a training, or it failed.
    """
    check(method, config, recipe)
    device, rows = choose_device(config.device), rows_to_train_on(manifest, len(images), config, "pairs")
    normalisation = Normalisation.of(summary)
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        with as_config_error():
            size = recipe.crop_size or images.shape[-1]
            image = ImageEncoder(config.encoder, images.shape[1], size, normalisation)
            text = TextEncoder(
                config.text_encoder, cutting(tokenizer, recipe.caption_length), recipe.caption_length, True
            )
            encoder = PairEncoder(image, text, config.projection_dim)
            model = load_method(method)(encoder.network, **constants_of(method, config))
    drawn = Views(
        images if recipe.views == "fresh" else checked_views(views, recipe, images),
        rows,
        recipe,
        normalisation,
        count=model.views,
        batch_size=config.batch_size,
        seed=config.seed,
        device=device,
    )
    history = pretrain(
        model,
        CaptionedViews(drawn, captions, rows, config.seed),
        config,
        resume=resume,
        fingerprint=fingerprint(method, manifest, summary, config, recipe),
        monitor=_monitor(encoder, images, manifest),
        report=report,
    )
    tell(history, CaptionedViews.unit)
    return encoder, history


def check(method: str, config: PairPretraining, recipe: PairAugmentation) -> None:
    """Raises ConfigError or TrainingError for mistakes that can be found before there are pairs."""
    choose_device(config.device)
    constants = constants_of(method, config)
    with tentatively(), as_config_error():
        image = ImageEncoder(
            config.encoder, 3, recipe.crop_size or DIVISIBLE_SIDE, Normalisation((0.0,) * 3, (1.0,) * 3)
        )
        text = Transformer(config.text_encoder, 300, recipe.caption_length, causal=True)
        load_method(method)(Towers(image.network, text, config.projection_dim), **constants)


def _monitor(encoder: PairEncoder, images: np.ndarray, manifest: pd.DataFrame) -> Monitor:
    """A monitor with the measurements of `embedding_monitor`, the spread of caption embeddings, and recall on the
    validation split."""
    measure = embedding_monitor(encoder, images.__getitem__, manifest, MAX_MONITORED_IMAGES)
    rows = spread(np.flatnonzero(manifest.split == "validation"), MAX_MONITORED_IMAGES)
    pictures = Rows([images], rows)
    texts, of = np.unique(manifest.text.iloc[rows].tolist(), return_inverse=True)

    def watch(method: Method) -> dict[str, float]:
        measured = measure()
        if len(rows):
            first, second = encoder.shared("first", pictures), encoder.shared("second", texts.tolist())
            measured["caption_embedding_std"] = health.embedding_std(torch.from_numpy(second))
            found = recall(lambda queries: second[queries] @ first.T, np.arange(len(texts)), of)
            measured |= {f"validation_{name}": value for name, value in found.items()}
        return measured

    return watch
