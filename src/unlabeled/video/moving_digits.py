"""The embedded synthetic clips: a handwritten digit moves while its name in an invented language is sung.

They are made from scikit-learn's digits and a seed, and written as real mp4 files.
"""

import csv
import sys
from functools import partial
from pathlib import Path

import av
import numpy as np

from unlabeled.images.decode import decode
from unlabeled.images.sources import digits
from unlabeled.ingestion.items import Item
from unlabeled.runtime.progress import bar
from unlabeled.runtime.threads import in_order
from unlabeled.storage.arrays import replace_file
from unlabeled.storage.freshness import made_by
from unlabeled.video import clips
from unlabeled.video.clips import write_clip

CLIP_COUNT = 600
TEST_COUNT = 150
SIDE = 32
GLYPH = 16
"""Side of a digit in pixels, twice that of scikit-learn's."""
FPS = 16
RATE = 8000
SEED = 0
FORMANTS = {"a": (730, 1090, 2440), "e": (530, 1840, 2480), "i": (270, 2290, 3010), "u": (300, 870, 2240)}
"""Formants of vowels in Hz: men's means by Peterson & Barney (1952)."""
BANDWIDTH = 120
DIGIT_NAMES = ("aie", "iau", "uea", "eui", "aua", "iei", "iua", "eae", "aeu", "uie")
"""Names of the digits 0 to 9. Several share every vowel and every pair of vowels, so that no single one identifies a
digit."""


def clips_folder(folder: Path) -> Path:
    """Subfolder of the clips, named by the code that makes them, so that other code has another one."""
    return folder / f"clips-{made_by([sys.modules[__name__], clips], av=av.__version__)}"


def make_clips(folder: Path) -> None:
    """Writes the missing clips, each of another digit image, and `metadata.csv` with labels and splits."""
    items = list(digits().items)
    chosen = np.random.default_rng(SEED).permutation(len(items))[:CLIP_COUNT]
    names = [f"synthetic-{number:03d}.mp4" for number in range(CLIP_COUNT)]
    splits = ["test" if number < TEST_COUNT else "train" for number in range(CLIP_COUNT)]
    rows = [(name, items[i].label, split) for name, i, split in zip(names, chosen, splits, strict=True)]
    write_metadata(folder, rows)
    missing = [number for number in range(CLIP_COUNT) if not (folder / names[number]).exists()]
    with bar("making synthetic clips", len(missing), "clips") as progress:
        for _ in in_order(lambda number: _make(folder / names[number], items[chosen[number]], number), missing):
            progress.advance()


def write_metadata(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    """Writes a `metadata.csv` of file names, labels and splits."""

    def write(path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("file_name", "label", "split"), *rows])

    replace_file(folder / "metadata.csv", write)


def _make(path: Path, item: Item, number: int) -> None:
    draw = np.random.default_rng([SEED, number])
    write_clip(path, moving(np.asarray(item.content), draw), FPS, sung(DIGIT_NAMES[int(str(item.label))], draw), RATE)


def moving(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """One second of a digit that moves over a black square and bounces off its sides.

    Args:
        image: uint8 (8, 8).

    Returns:
        uint8 (T, 1, 32, 32), 16 frames a second.
    """
    glyph = decode(image, GLYPH, 1).pixels
    reach = SIDE - GLYPH
    start, speed = draw.uniform(0, 2 * reach, 2), draw.uniform(-2 * reach, 2 * reach, 2)
    way = (start + speed * np.arange(FPS)[:, None] / FPS) % (2 * reach)
    frames = np.zeros((FPS, 1, SIDE, SIDE), np.uint8)
    for frame, (top, left) in zip(frames, (reach - abs(way - reach)).round().astype(int), strict=True):
        frame[:, top : top + GLYPH, left : left + GLYPH] = glyph
    return frames


def sung(name: str, draw: np.random.Generator) -> np.ndarray:
    """One second of sung vowels, with another voice at each draw.

    Pitch and its glide, the length of the vocal tract, tempo, onset, loudness and noise are random.

    Returns:
        int16 (8000,).
    """
    length = draw.uniform(0.1, 0.2)
    onset = int(RATE * draw.uniform(0, 1 - len(name) * length))
    pitch, tract = draw.uniform(90, 250), draw.uniform(0.9, 1.15)
    vowel = partial(_vowel, round(RATE * length), draw=draw)
    voice = np.concatenate([vowel(pitch * draw.uniform(0.9, 1.1), tract * np.array(FORMANTS[v])) for v in name])
    sound = np.pad(voice, (onset, RATE - onset - len(voice)))
    sound += draw.normal(0, voice.std() * 10 ** draw.uniform(-1.2, -0.3), RATE)
    return (sound / abs(sound).max() * draw.uniform(3000, 30_000)).astype(np.int16)


def _vowel(samples: int, pitch: float, formants: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """The harmonics of a pitch, stronger near a formant, with a swelling and fading volume."""
    harmonics = pitch * np.arange(1, RATE / 2 / pitch)[:, None]
    strengths = np.exp(-(((harmonics - formants) / BANDWIDTH) ** 2) / 2).sum(1, keepdims=True) + 0.02
    turns = harmonics * np.arange(samples) / RATE + draw.random((len(harmonics), 1))
    return (strengths * np.sin(2 * np.pi * turns)).sum(0) * np.hanning(samples)
