"""Makes videos of moving digits with spoken digits as sound: `python scripts/spoken_digits.py RECORDINGS FOLDER`.

RECORDINGS holds the WAV files of the Free Spoken Digit Dataset, called {digit}_{speaker}_{index}.wav. Each becomes the
sound of a video in FOLDER that shows a moving handwritten digit of scikit-learn. As in that data set, recordings of
index 0 to 4 are the test split. No image is in both splits.
"""

import argparse
import re
import sys
from pathlib import Path

import numpy as np

from unlabeled.errors import DataError
from unlabeled.images.decode import UndecodableError
from unlabeled.images.sources import digits
from unlabeled.runtime.progress import bar
from unlabeled.runtime.threads import in_order
from unlabeled.video.clips import read_sound, write_clip
from unlabeled.video.moving_digits import FPS, RATE, moving, write_metadata

NAME = re.compile(r"(\d)_.+_(\d+)")
TEST_RECORDINGS = 5
"""Number of test recordings of each speaker and digit."""
TEST_IMAGES = 36
"""Number of test images of each digit: the first ones, a fifth of all."""
MAX_SECONDS = 3
"""Largest number of seconds of a recording; the rest is cut off."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    try:
        make_videos(arguments.recordings, arguments.folder)
    except (DataError, UndecodableError) as error:
        sys.exit(f"Error: {error}")


def make_videos(recordings: Path, folder: Path) -> None:
    """Writes one video for each recording, in the order of names, and `metadata.csv` with labels and splits."""
    files = sorted(file for file in recordings.glob("*.wav") if NAME.fullmatch(file.stem))
    if not files:
        raise DataError(f"{recordings} holds no files called {{digit}}_{{speaker}}_{{index}}.wav")
    images = images_by_split()

    def make(number: int) -> tuple[str, str, str]:
        file, draw = files[number], np.random.default_rng([0, number])
        digit, index = NAME.fullmatch(file.stem).groups()
        split = "test" if int(index) < TEST_RECORDINGS else "train"
        frames = moving(draw.choice(images[digit, split]), draw)
        write_clip(folder / f"{file.stem}.mp4", frames, FPS, read_sound(file, RATE, MAX_SECONDS * RATE), RATE)
        return f"{file.stem}.mp4", digit, split

    rows = []
    with bar("making videos", len(files), "videos") as progress:
        for row in in_order(make, range(len(files))):
            rows.append(row)
            progress.advance()
    write_metadata(folder, rows)


def images_by_split() -> dict[tuple[str, str], np.ndarray]:
    """The images by digit and split."""
    images: dict[str, list[np.ndarray]] = {}
    for item in digits().items:
        images.setdefault(item.label, []).append(item.content)
    test = {(digit, "test"): np.stack(of[:TEST_IMAGES]) for digit, of in images.items()}
    return test | {(digit, "train"): np.stack(of[TEST_IMAGES:]) for digit, of in images.items()}


if __name__ == "__main__":
    main()
