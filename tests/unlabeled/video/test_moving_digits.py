import numpy as np
import pandas as pd
import pytest

from unlabeled.images.decode import decode
from unlabeled.images.sources import digits
from unlabeled.video import moving_digits
from unlabeled.video.clips import read_clip
from unlabeled.video.config import VideoIngestion
from unlabeled.video.moving_digits import DIGIT_NAMES, FORMANTS, make_clips, moving, sung


@pytest.fixture
def clips(tmp_path, monkeypatch):
    """Twelve of them."""
    monkeypatch.setattr(moving_digits, "CLIP_COUNT", 12)
    monkeypatch.setattr(moving_digits, "TEST_COUNT", 3)
    make_clips(tmp_path / "clips")
    return tmp_path / "clips"


def draw(seed=0):
    return np.random.default_rng(seed)


def test_clips_are_real_films_that_are_called_synthetic(clips):
    films = sorted(clips.glob("*.mp4"))
    assert len(films) == 12 and all(film.name.startswith("synthetic-") for film in films)
    clip = read_clip(films[0], VideoIngestion(frames=16, channels=1))
    assert clip.frames.max() > 200 and abs(clip.wave).max() > 2000 and clip.seconds == 1.0


def test_metadata_names_each_film_its_digit_and_split(clips):
    rows = pd.read_csv(clips / "metadata.csv")
    assert rows.file_name.tolist() == [f"synthetic-{number:03d}.mp4" for number in range(12)]
    assert rows.split.tolist() == ["test"] * 3 + ["train"] * 9 and rows.label.isin(range(10)).all()


def test_no_digit_is_in_two_clips(clips, monkeypatch):
    shown = []
    monkeypatch.setattr(
        moving_digits, "moving", lambda image, _: shown.append(image.tobytes()) or moving(image, draw())
    )
    make_clips(clips.parent / "again")
    assert len(set(shown)) == 12


def test_clips_are_the_same_every_time_and_made_where_they_are_missing(clips):
    film, other = clips / "synthetic-003.mp4", clips / "synthetic-004.mp4"
    content = film.read_bytes()
    film.unlink(), other.write_bytes(b"kept")
    make_clips(clips)
    assert film.read_bytes() == content and other.read_bytes() == b"kept"
    assert all(path.suffix in (".mp4", ".csv") for path in clips.iterdir())


@pytest.mark.parametrize("seed", range(20))
def test_a_digit_moves_and_stays_in_the_picture(seed):
    image = np.full((8, 8), 100, np.uint8)
    frames = moving(image, draw(seed))
    assert frames.shape == (16, 1, 32, 32) and frames.dtype == np.uint8
    assert ((frames == 100).sum((1, 2, 3)) == 256).all() and len({frame.tobytes() for frame in frames}) > 3
    corners = np.array([np.argwhere(frame[0])[0] for frame in frames])
    assert abs(np.diff(corners, axis=0)).max() <= 3  # 32 pixels a second, rounded


def test_a_moving_digit_is_the_digit():
    image = next(digits().items).content
    rows, columns = np.nonzero(moving(np.full((8, 8), 255, np.uint8), draw())[0, 0])
    first = moving(image, draw())[0, 0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    np.testing.assert_array_equal(first, decode(image, 16, 1).pixels[0])


def spectrum(sound):
    return abs(np.fft.rfft(sound * np.hanning(len(sound))))


@pytest.mark.parametrize("vowel", FORMANTS)
def test_a_vowel_is_loudest_at_one_of_its_formants(vowel):
    frequencies = np.fft.rfftfreq(8000, 1 / 8000)
    for seed in range(5):
        loudest = frequencies[spectrum(sung(3 * vowel, draw(seed))).argmax()]
        assert min(abs(loudest / np.array(FORMANTS[vowel]) - 1)) < 0.45  # the tract, and the nearest harmonic


def test_no_two_voices_are_the_same():
    sounds = np.array([sung(DIGIT_NAMES[0], draw(seed)) for seed in range(20)])
    assert sounds.shape == (20, 8000) and sounds.dtype == np.int16
    assert len({sound.tobytes() for sound in sounds}) == 20
    loudness = abs(sounds.astype(int)).max(1)
    assert loudness.min() < 10_000 < 20_000 < loudness.max()


def test_names_are_different_and_made_of_the_vowels():
    assert len(set(DIGIT_NAMES)) == 10 and set("".join(DIGIT_NAMES)) == set(FORMANTS)
