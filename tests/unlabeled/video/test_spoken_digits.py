import runpy
import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from unlabeled.video.clips import read_clip
from unlabeled.video.config import VideoIngestion

SCRIPT = Path(__file__).parents[3] / "scripts" / "spoken_digits.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def test_each_recording_becomes_a_film_and_the_first_five_are_the_test_split(script, tmp_path, tone):
    (tmp_path / "recordings").mkdir()
    for name in ("3_ann_0", "3_ann_4", "3_ann_5", "7_bob_49"):
        with wave.open(str(tmp_path / "recordings" / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", "")), file.writeframes(tone(seconds=0.5).tobytes())
    script["make_videos"](tmp_path / "recordings", tmp_path / "videos")
    rows = pd.read_csv(tmp_path / "videos" / "metadata.csv").itertuples(index=False, name=None)
    assert list(rows) == [
        ("3_ann_0.mp4", 3, "test"),
        ("3_ann_4.mp4", 3, "test"),
        ("3_ann_5.mp4", 3, "train"),
        ("7_bob_49.mp4", 7, "train"),
    ]
    clip = read_clip(tmp_path / "videos" / "7_bob_49.mp4", VideoIngestion(channels=1))
    assert np.corrcoef(clip.wave[:4000], tone(seconds=0.5))[0, 1] > 0.99


def test_no_image_is_in_both_splits(script):
    images = script["images_by_split"]()
    seen = {
        split: {image.tobytes() for digit in "0123456789" for image in images[digit, split]}
        for split in ("train", "test")
    }
    assert len(seen["test"]) == 360 and not seen["train"] & seen["test"]
