"""Evaluation of two towers of clips beside pixels, spectrograms and untrained networks."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from unlabeled.config import Evaluation
from unlabeled.evaluation.probe import Labels, LinearProbe, measure
from unlabeled.evaluation.protocol import baselines_of, measure_all, pixels_of
from unlabeled.evaluation.retrieval import chance, recall
from unlabeled.pairs.towers import PairEncoder
from unlabeled.records import Measured
from unlabeled.video.correspondence import correspondence
from unlabeled.video.sound import log_mel

BASELINE_FRAMES, BASELINE_SIDE = 4, 16
"""Largest number of frames of a clip in the baselines on pixels, and their side in pixels."""
BASELINE_BANDS, BASELINE_TIMES = 20, 16
"""Numbers of bands and of times of the averaged spectrograms in the baselines on sound."""
POOLED_CLIPS = 64
"""Clips whose frames are averaged at a time."""
SHOWN_CLIPS, SHOWN_ANSWERS = 6, 4
"""Number of test clips whose answers are kept to look at, and of answers for each."""


class Evaluated(NamedTuple):
    """The results of evaluation.

    Attributes:
        features: Features of the frames, float32 (N, D).
        shown: A few test rows, each with the rows of the sounds that are most similar to its frames.
    """

    metrics: Measured
    features: np.ndarray
    probe: LinearProbe | None
    shown: list[list[int]]


def evaluate(
    encoder: PairEncoder, frames: np.ndarray, sounds: np.ndarray, manifest: pd.DataFrame, config: Evaluation
) -> Evaluated:
    """Measures both towers by the protocol of images, and how well they match videos and sounds.

    Args:
        frames: uint8 (N, T, C, H, W).
        sounds: int16 (N, S).
    """
    baselines = baselines_of(encoder.first, frames, lambda: _pixels(frames), manifest, config)
    metrics, features, probe = measure_all(encoder.embed(frames), manifest, config, baselines, unit="clips")
    of_sounds = encoder.second.embed(sounds)
    metrics["sound"] = _measured_sound(encoder, of_sounds, sounds, manifest, config)
    validation, test = (np.flatnonzero(manifest.split == split) for split in ("validation", "test"))
    metrics |= {"correspondence_accuracy": None, "retrieval": {}}
    if len(test) < 2:
        return Evaluated(metrics, features, probe, [])

    def shared(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return encoder.projected("first", features[rows]), encoder.projected("second", of_sounds[rows])

    first, second = shared(test)
    if len(validation) > 1:
        threshold = correspondence(*shared(validation)).threshold()
        metrics["correspondence_accuracy"] = correspondence(first, second, config.seed).accuracy(threshold)
    own = np.arange(len(test))
    metrics["retrieval"] = {
        "video_to_sound": recall(lambda rows: first[rows] @ second.T, own, own),
        "sound_to_video": recall(lambda rows: second[rows] @ first.T, own, own),
        "chance": chance(own, own),
    }
    return Evaluated(metrics, features, probe, _shown(first, second, test, config.seed))


def _pixels(frames: np.ndarray) -> np.ndarray:
    """Averaged pixels of some frames of each clip, float32 (N, …)."""
    count, length = frames.shape[:2]
    some = np.linspace(0, length - 1, min(BASELINE_FRAMES, length)).round().astype(int)
    rows = []
    for start in range(0, count, POOLED_CLIPS):
        part = frames[start : start + POOLED_CLIPS][:, some]
        rows.append(pixels_of(part.reshape(len(part), -1, *part.shape[3:]), BASELINE_SIDE))
    return np.concatenate(rows)


def _measured_sound(
    encoder: PairEncoder, features: np.ndarray, sounds: np.ndarray, manifest: pd.DataFrame, config: Evaluation
) -> dict[str, Any]:
    """The protocol's numbers for the sounds' tower and for spectrograms alone; empty without labels."""
    labels = Labels.of(manifest)
    if not labels.suffice():
        return {}
    alone = log_mel(sounds, encoder.second.rate, encoder.second.recipe)
    bands = [part.mean(1) for part in np.array_split(alone, min(BASELINE_BANDS, alone.shape[1]), axis=1)]
    times = [part.mean(2) for part in np.array_split(np.stack(bands, 1), min(BASELINE_TIMES, alone.shape[2]), axis=2)]
    numbers, _ = measure(features, labels, config)
    return {**numbers, "baselines": {"spectrogram": measure(np.concatenate(times, 1), labels, config)[0]}}


def _shown(first: np.ndarray, second: np.ndarray, test: np.ndarray, seed: int) -> list[list[int]]:
    drawn = np.random.default_rng(seed).permutation(len(test))[:SHOWN_CLIPS]
    return [
        [int(test[i]), *test[(-(first[i] @ second.T)).argsort(kind="stable")[:SHOWN_ANSWERS]].tolist()] for i in drawn
    ]
