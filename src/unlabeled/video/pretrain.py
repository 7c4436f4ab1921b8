"""Pretraining on cached frames and spectrograms: trains two towers by the same loop as for images."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from unlabeled.evaluation import health
from unlabeled.evaluation.monitor import MAX_MONITORED_IMAGES, embedding_monitor
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.images.pretrain import fingerprint
from unlabeled.method import Method, load_method
from unlabeled.pairs.towers import PairEncoder
from unlabeled.records import Summary
from unlabeled.storage.arrays import Rows, spread
from unlabeled.training.batches import Order, step_seed
from unlabeled.training.devices import choose_device
from unlabeled.training.history import Monitor, Report, tell
from unlabeled.training.loop import pretrain
from unlabeled.training.setup import as_config_error, constants_of, rows_to_train_on, tentatively
from unlabeled.video.config import Spectrograms, VideoPretraining
from unlabeled.video.correspondence import correspondence
from unlabeled.video.encoders import FramesEncoder, SoundEncoder


class Clips:
    """Batches of frames and the spectrograms of their sounds; batch `step` is a pure function of (seed, step).

    A spectrogram is shifted in time and has a band hidden (arXiv:1904.08779), as a recording may begin earlier and
    sound duller. Frames are not augmented: a video moves by itself.
    """

    unit = "clips"

    def __init__(
        self,
        frames: np.ndarray,
        spectrograms: np.ndarray,
        rows: np.ndarray,
        encoder: FramesEncoder,
        config: VideoPretraining,
        device: torch.device,
    ):
        self.device, self.batch_size = device, config.batch_size
        self._frames, self._spectrograms, self._encoder, self._config = frames, spectrograms, encoder, config
        self._order = Order(rows, config.batch_size, config.seed)
        self.steps_per_epoch = self._order.steps_per_epoch

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Frames (B, T, C, H, W), float32 and normalised, and spectrograms (B, 1, mels, F), on the device."""
        rows = self._order.at(step).numpy()
        spectrograms = torch.from_numpy(self._spectrograms[rows].astype(np.float32)).to(self.device)
        generator = torch.Generator(self.device).manual_seed(step_seed(self._config.seed, 1, step))
        changed = change(spectrograms, self._config.time_shift, self._config.hidden_band, generator)
        return self._encoder.prepare(self._frames[rows]), changed[:, None]


def change(spectrograms: Tensor, time_shift: float, hidden_band: float, generator: torch.Generator) -> Tensor:
    """Spectrograms (B, mels, F), shifted in time at random and with neighbouring bands hidden at their mean, 0.

    Args:
        time_shift: Largest shift in either direction as a fraction of the length; the shift is circular.
        hidden_band: Largest fraction of the bands that is hidden.
    """
    count, mels, length = spectrograms.shape
    moved, width, start = torch.rand(3, count, 1, generator=generator, device=spectrograms.device)
    shift = ((2 * moved - 1) * time_shift * length).round().long()
    places = (torch.arange(length, device=spectrograms.device) - shift) % length
    width = (width * hidden_band * mels).round()
    bands, first = torch.arange(mels, device=spectrograms.device), (start * (mels - width)).floor()
    hidden = (bands >= first) & (bands < first + width)
    return spectrograms.gather(2, places[:, None].expand_as(spectrograms)).masked_fill(hidden[..., None], 0)


def pretrain_encoder(
    method: str,
    frames: np.ndarray,
    sounds: np.ndarray,
    spectrograms: np.ndarray,
    manifest: pd.DataFrame,
    summary: Summary,
    config: VideoPretraining,
    recipe: Spectrograms,
    *,
    resume: Path | None = None,
    report: Report | None = None,
) -> tuple[PairEncoder, list[dict[str, float]]]:
    """Trains the named method on the train split. Returns the encoder, and one row of metrics for each epoch.

    Args:
        frames: uint8 (N, T, C, H, W).
        sounds: int16 (N, S), for the monitor.
        spectrograms: float (N, mels, F), of these sounds.
        manifest: Its `target` serves only the kNN monitor.
        resume: See `train.pretrain`.

    Raises:
        ConfigError, TrainingError: The parameters do not allow a training, or it failed.
    """
    check(method, config, recipe)
    device, rows = choose_device(config.device), rows_to_train_on(manifest, len(frames), config, "clips")
    normalisation = Normalisation.of(summary)
    shape = frames.shape[1], summary["channels"], summary["image_size"]
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        with as_config_error():
            encoder, model = _build(method, config, recipe, shape, (summary["rate"], sounds.shape[1]), normalisation)
    history = pretrain(
        model,
        Clips(frames, spectrograms, rows, encoder.first, config, device),
        config,
        resume=resume,
        fingerprint=fingerprint(method, manifest, summary, config, recipe),
        monitor=_monitor(encoder, frames, sounds, manifest),
        report=report,
    )
    tell(history, Clips.unit)
    return encoder, history


def check(method: str, config: VideoPretraining, recipe: Spectrograms) -> None:
    """Raises ConfigError or TrainingError for mistakes that can be found before there are clips."""
    choose_device(config.device)
    anything = Normalisation((0.0,) * 3, (1.0,) * 3)
    with tentatively(), as_config_error():
        _build(method, config, recipe, (1, 3, 32), (8000, 8000), anything)


def _build(
    method: str,
    config: VideoPretraining,
    recipe: Spectrograms,
    shape: tuple[int, int, int],
    sound: tuple[int, int],
    normalisation: Normalisation,
) -> tuple[PairEncoder, Method]:
    frames, channels, size = shape
    first = FramesEncoder(frames, ImageEncoder(config.encoder, channels, size, normalisation))
    encoder = PairEncoder(first, SoundEncoder(config.sound_encoder, *sound, recipe), config.projection_dim)
    return encoder, load_method(method)(encoder.network, **constants_of(method, config))


def _monitor(encoder: PairEncoder, frames: np.ndarray, sounds: np.ndarray, manifest: pd.DataFrame) -> Monitor:
    """A monitor with the measurements of `embedding_monitor`, the spread of sound embeddings, and the accuracy of
    correspondence."""
    measure = embedding_monitor(encoder, frames.__getitem__, manifest, MAX_MONITORED_IMAGES // 4)
    rows = spread(np.flatnonzero(manifest.split == "validation"), MAX_MONITORED_IMAGES)

    def watch(method: Method) -> dict[str, float]:
        measured = measure()
        if len(rows) > 1:
            first, second = encoder.shared("first", Rows([frames], rows)), encoder.shared("second", sounds[rows])
            measured["sound_embedding_std"] = health.embedding_std(torch.from_numpy(second))
            measured["validation_correspondence_accuracy"] = correspondence(first, second).best()
        return measured

    return watch
