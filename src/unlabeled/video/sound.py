"""Log-mel spectrograms of sounds: the strength of each band of pitch, window by window.

The mel of a frequency f in Hz is 2595 log10(1 + f / 700), as in HTK (O'Shaughnessy 1987). Bands are triangles, evenly
spaced on that scale from 0 Hz to half the rate, each 1 at its centre and 0 at the centres of its neighbours.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unlabeled.errors import ConfigError
from unlabeled.runtime.progress import bar
from unlabeled.storage.arrays import ArrayWriter, open_array
from unlabeled.video.config import Spectrograms

MAX_SAMPLES = 2**19
"""Largest number of samples whose spectrograms are computed at once, at least one sound; intermediate results are about
twenty times as large."""
DYNAMIC_RANGE = 8.0
"""Dynamic range below the loudest power of a clip, in powers of ten: 8, which is 80 dB."""


def log_mel(waves: np.ndarray, rate: int, recipe: Spectrograms) -> np.ndarray:
    """Power spectrograms in log10, standardised clip by clip.

    Each clip is standardised by its own mean and std, as the volume of a recording says nothing about its content, and
    so that a sound can be embedded without statistics of others. Power more than 80 dB below the clip's loudest, such
    as silence, is raised to that level.

    Args:
        waves: int16 (N, S).
        rate: Sampling rate in Hz.

    Returns:
        float32 (N, mels, F), with a window at every `hop_ms` that lies in the sound; zeros for silence.

    Raises:
        ConfigError: There are so many bands that some contain no frequency of the spectrum.
    """
    bank = torch.from_numpy(mel_bank(recipe.mels, rate, _points(rate, recipe)))
    made = np.empty((len(waves), recipe.mels, windows_in(waves.shape[1], rate, recipe)), np.float32)
    for rows in _few_at_a_time(waves):
        made[rows] = _log_mel(waves[rows], rate, recipe, bank)
    return made


def cache_spectrograms(sounds: np.ndarray, rate: int, recipe: Spectrograms, folder: Path) -> np.ndarray:
    """Writes the spectrograms of sounds int16 (N, S) to `spectrograms.npy` in `folder`, and opens it: float16 (N, mels,
    F)."""
    shape = recipe.mels, windows_in(sounds.shape[1], rate, recipe)
    with (
        ArrayWriter(folder / "spectrograms.npy", shape, np.float16) as writer,
        bar("spectrograms", len(sounds), "sounds") as progress,
    ):
        for rows in _few_at_a_time(sounds):
            spectrograms = log_mel(sounds[rows], rate, recipe)
            writer.append(spectrograms)
            progress.advance(len(spectrograms))
    return open_array(folder / "spectrograms.npy")


def windows_in(samples: int, rate: int, recipe: Spectrograms) -> int:
    """Number of windows (F) of a sound of `samples` samples."""
    window, hop = _samples(recipe.window_ms, rate), _samples(recipe.hop_ms, rate)
    return (samples - window) // hop + 1


def mel_bank(mels: int, rate: int, points: int) -> np.ndarray:
    """Weight of each frequency in each band.

    Args:
        points: Points of the Fourier transform.

    Returns:
        float32 (mels, points // 2 + 1), in [0, 1].

    Raises:
        ConfigError: A band contains no frequency.
    """
    corners = hertz_of(np.linspace(0, mel_of(rate / 2), mels + 2))
    low, centre, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    frequencies = np.arange(points // 2 + 1) * rate / points
    bank = np.minimum((frequencies - low) / (centre - low), (high - frequencies) / (high - centre)).clip(0)
    if not bank.any(1).all():
        raise ConfigError(
            f"augmentation.mels: received {mels}, too many for windows of this length at {rate} Hz: lower it, or raise "
            f"augmentation.window_ms"
        )
    return bank.astype(np.float32)


def mel_of(hertz: float) -> float:
    """Pitch in mel of a frequency in Hz."""
    return 2595 * np.log10(1 + hertz / 700)


def hertz_of(mel: np.ndarray) -> np.ndarray:
    """The inverse of `mel_of`."""
    return 700 * (10 ** (mel / 2595) - 1)


def _few_at_a_time(waves: np.ndarray) -> Iterator[slice]:
    step = max(1, MAX_SAMPLES // waves.shape[1])
    return (slice(start, start + step) for start in range(0, len(waves), step))


def _log_mel(waves: np.ndarray, rate: int, recipe: Spectrograms, bank: Tensor) -> np.ndarray:
    sounds = torch.from_numpy(np.asarray(waves, np.float32)) / 2**15
    window = torch.hann_window(_samples(recipe.window_ms, rate))
    # Not torch.stft with a shorter window: it would be centred in a longer frame, and the last windows would be lost.
    frames = sounds.unfold(-1, len(window), _samples(recipe.hop_ms, rate)) * window
    power = torch.fft.rfft(frames, _points(rate, recipe)).abs().square()
    bands = (power @ bank.T).transpose(1, 2).clamp(min=1e-10).log10()
    bands = bands.maximum(bands.amax((1, 2), keepdim=True) - DYNAMIC_RANGE)
    spread = bands.std((1, 2), keepdim=True, correction=0).clamp(min=1e-3)  # silence stays finite
    return ((bands - bands.mean((1, 2), keepdim=True)) / spread).numpy()


def _samples(milliseconds: float, rate: int) -> int:
    return max(1, round(milliseconds * rate / 1000))


def _points(rate: int, recipe: Spectrograms) -> int:
    """Points of the Fourier transform: a power of two, at least twice the window, so that narrow bands contain
    frequencies."""
    return 2 ** (2 * _samples(recipe.window_ms, rate) - 1).bit_length()
