import pytest

from unlabeled.errors import ConfigError
from unlabeled.video.config import Spectrograms, VideoIngestion


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"source": "youtube"}, "expected 'moving_digits' or 'video'"),
        ({"source": "video"}, "expected ingestion.path to be set for the source video"),
        ({"test_fraction": 0.9}, "a sum below 1, so that clips are left to train on"),
        ({"rate": 100}, "ingestion.rate: received 100, expected"),
        ({"seconds": 0.0}, "ingestion.seconds: received 0.0, expected"),
        ({"frames": 0}, "ingestion.frames: received 0, expected"),
        ({"channels": 2}, "ingestion.channels: received 2, expected 1 or 3"),
        ({"frame": 8}, "did you mean ingestion.frames?"),
    ],
)
def test_parameters_that_cannot_be(keys, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        VideoIngestion.model_validate(keys)


def test_clips_are_called_after_their_folder_and_the_embedded_ones_synthetic():
    assert VideoIngestion().name == "synthetic_moving_digits"
    assert VideoIngestion(source="video", path="films").name == "films"


def test_samples_of_a_sound():
    assert VideoIngestion(seconds=0.5, rate=16_000).samples == 8000


def test_what_decides_the_spectrograms():
    expected = {"data_digest": "d", "order": "o", "mels": 40, "window_ms": 25.0, "hop_ms": 10.0}
    assert Spectrograms().spectrograms_of("d", "o") == expected
