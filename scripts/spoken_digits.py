"""Makes films of moving digits that are spoken by people: `python scripts/spoken_digits.py RECORDINGS FOLDER`.

RECORDINGS holds WAV files called {digit}_{speaker}_{index}.wav, the Free Spoken Digit Dataset's. Each becomes the sound
of a film in FOLDER, with a handwritten digit of scikit-learn's that moves. As that data set has it, recordings of index
0 to 4 are the test split; no image that is seen in it is seen in another one.
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
"""Of each speaker and digit."""
TEST_IMAGES = 36
"""Of each digit: the first ones, a fifth of all."""
LONGEST = 3
"""Seconds of a recording; the rest is left out."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    try:
        make_films(arguments.recordings, arguments.folder)
    except (DataError, UndecodableError) as error:
        sys.exit(f"Error: {error}")


def make_films(recordings: Path, folder: Path) -> None:
    """Writes a film a recording, in the order of their names, and `metadata.csv` with their labels and splits."""
    files = sorted(file for file in recordings.glob("*.wav") if NAME.fullmatch(file.stem))
    if not files:
        raise DataError(f"{recordings} holds no files called {{digit}}_{{speaker}}_{{index}}.wav")
    images = images_by_split()

    def make(number: int) -> tuple[str, str, str]:
        file, draw = files[number], np.random.default_rng([0, number])
        digit, index = NAME.fullmatch(file.stem).groups()
        split = "test" if int(index) < TEST_RECORDINGS else "train"
        frames = moving(draw.choice(images[digit, split]), draw)
        write_clip(folder / f"{file.stem}.mp4", frames, FPS, read_sound(file, RATE, LONGEST * RATE), RATE)
        return f"{file.stem}.mp4", digit, split

    rows = []
    with bar("making films", len(files), "films") as progress:
        for row in in_order(make, range(len(files))):
            rows.append(row)
            progress.advance()
    write_metadata(folder, rows)


def images_by_split() -> dict[tuple[str, str], np.ndarray]:
    """The images of each digit that are shown in the test split, and those that are shown in the other one."""
    images: dict[str, list[np.ndarray]] = {}
    for item in digits().items:
        images.setdefault(item.label, []).append(item.content)
    test = {(digit, "test"): np.stack(of[:TEST_IMAGES]) for digit, of in images.items()}
    return test | {(digit, "train"): np.stack(of[TEST_IMAGES:]) for digit, of in images.items()}


if __name__ == "__main__":
    main()
