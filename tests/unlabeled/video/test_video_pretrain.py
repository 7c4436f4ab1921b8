"""The loop on frames and spectrograms, and what is measured of it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from unlabeled.config import Evaluation
from unlabeled.encoders import read_encoder
from unlabeled.errors import ConfigError, DataError, TrainingError
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.nn.small_networks import build_encoder
from unlabeled.pairs.towers import PairEncoder
from unlabeled.video.config import Spectrograms, VideoPretraining
from unlabeled.video.encoders import FramesEncoder, SoundEncoder, reading_for
from unlabeled.video.evaluate import evaluate
from unlabeled.video.pretrain import change, check, pretrain_encoder
from unlabeled.video.sound import log_mel

WIDE = (64, 128, 256)
RATE, RECIPE = 8000, Spectrograms(mels=16)
CONFIG = VideoPretraining(epochs=8, batch_size=32, checkpoint_seconds=0, warmup_epochs=0, learning_rate=3e-3)


@pytest.fixture(scope="module")
def clips():
    """Frames of one of four brightnesses, and tones of one of four pitches that goes with it."""
    rng, n = np.random.default_rng(0), 200
    target = rng.integers(4, size=n)
    frames = (60 * target[:, None, None, None, None] + rng.integers(40, size=(n, 2, 1, 8, 8))).astype(np.uint8)
    time = np.arange(3200) / RATE
    waves = np.sin(2 * np.pi * (300 * (target[:, None] + 1) + rng.uniform(-60, 60, (n, 1))) * time)
    sounds = (8000 * waves + rng.normal(0, 500, waves.shape)).astype(np.int16)
    split = np.array(["train"] * 120 + ["validation"] * 30 + ["test"] * 50)
    manifest = pd.DataFrame({"sha256": [f"{i:064x}" for i in range(n)], "target": target, "split": split})
    seen = frames[split == "train"] / 255
    summary = {"mean": [seen.mean()], "std": [seen.std()], "channels": 1, "image_size": 8, "rate": RATE}
    return frames, sounds, log_mel(sounds, RATE, RECIPE), manifest, summary | {"data_digest": "made up"}


@pytest.fixture(scope="module")
def trained(clips):
    return pretrain_encoder("video_audio", *clips, CONFIG, RECIPE)


class StopError(Exception):
    pass


def same(first, second):
    state = second.network.state_dict()
    return all(torch.equal(value, state[name]) for name, value in first.network.state_dict().items())


def test_a_training_that_goes_on_ends_in_the_same_weights(clips, trained, tmp_path):
    def stop(metrics, step):
        raise StopError

    with pytest.raises(StopError):  # at the end of the first epoch
        pretrain_encoder("video_audio", *clips, CONFIG, RECIPE, resume=tmp_path / "resume.safetensors", report=stop)
    again, _ = pretrain_encoder("video_audio", *clips, CONFIG, RECIPE, resume=tmp_path / "resume.safetensors")
    assert same(again, trained[0])


def test_labels_decide_nothing(clips, trained):
    frames, sounds, spectrograms, manifest, summary = clips
    other = manifest.assign(target=-1)
    encoder, _ = pretrain_encoder("video_audio", frames, sounds, spectrograms, other, summary, CONFIG, RECIPE)
    assert same(encoder, trained[0])


def test_a_trained_pair_tells_its_own_sound_from_others(clips, trained):
    frames, sounds, _, manifest, _ = clips
    found = evaluate(trained[0], frames, sounds, manifest, Evaluation(draws=2))
    assert found.metrics["correspondence_accuracy"] > 0.75  # a quarter of the other sounds is of the same pitch
    assert found.metrics["linear_probe_accuracy"] > 0.95 and found.metrics["sound"]["linear_probe_accuracy"] > 0.9
    assert (manifest.split.iloc[np.ravel(found.shown)] == "test").all()
    assert trained[1][-1]["validation_correspondence_accuracy"] > 0.7


def test_without_a_test_split_nothing_is_asked(clips, trained):
    frames, sounds, _, manifest, _ = clips
    found = evaluate(trained[0], frames, sounds, manifest.assign(split="train"), Evaluation(draws=2))
    assert found.metrics["correspondence_accuracy"] is None and found.metrics["retrieval"] == {}
    assert found.metrics["sound"] == {}


def test_without_a_validation_split_sounds_are_searched_all_the_same(clips, trained):
    frames, sounds, _, manifest, _ = clips
    other = manifest.assign(split=manifest.split.replace("validation", "train"))
    found = evaluate(trained[0], frames, sounds, other, Evaluation(draws=2))
    assert found.metrics["correspondence_accuracy"] is None and found.metrics["retrieval"]["video_to_sound"]


def test_it_is_kept_and_read_with_both_towers(clips, trained, tmp_path):
    trained[0].save(tmp_path / "encoder.safetensors")
    read = read_encoder(tmp_path / "encoder.safetensors")
    assert np.array_equal(read.embed(clips[0][:5]), trained[0].embed(clips[0][:5]))
    assert np.array_equal(read.shared("second", clips[1][:5]), trained[0].shared("second", clips[1][:5]))
    reading = reading_for(read.first, read.second)
    assert (reading.frames, reading.image_size, reading.samples, reading.rate) == (2, 8, 3200, RATE)


def test_what_is_of_another_kind_is_refused(clips, trained):
    encoder = trained[0]
    with pytest.raises(
        DataError, match=r"received frames of uint8 with shape \(5, 8, 8\), expected uint8 of \(N, T, 1,"
    ):
        encoder.embed(clips[0][:5, 0, 0])
    with pytest.raises(
        DataError, match=r"received sounds of float32 with shape \(5, 3200\), expected int16 of \(N, S\)"
    ):
        encoder.shared("second", clips[1][:5].astype(np.float32))
    assert encoder.misfit(clips[0]) is None
    assert encoder.misfit(clips[0].repeat(3, 2)) == "is of clips with 1 channel, and today's have 3"
    assert encoder.misfit(["a text"]) == "is of clips, and today's data are none"


def test_towers_that_were_saved_before_their_widths_were_are_read(tmp_path, clips):
    networks = (build_encoder("small_resnet", 1, side, WIDE) for side in (8, RECIPE.mels))
    frames = ImageEncoder("small_resnet", 1, 8, Normalisation((0.5,), (0.25,)), next(networks))
    sound = SoundEncoder("small_resnet", RATE, 3200, RECIPE, next(networks))
    encoder, path = PairEncoder(FramesEncoder(2, frames), sound, 16), tmp_path / "encoder.safetensors"
    encoder.save(path)
    spec = json.loads(path.with_suffix(".json").read_text())
    assert [spec[tower].pop("widths") for tower in ("first", "second")] == [list(WIDE)] * 2
    path.with_suffix(".json").write_text(json.dumps(spec))
    assert same(read_encoder(path), encoder)


def test_features_of_a_clip_are_the_mean_over_its_frames():
    encoder = FramesEncoder(3, ImageEncoder("small_resnet", 1, 8, Normalisation((0.5,), (0.25,))))
    frames = np.random.default_rng(0).integers(256, size=(4, 3, 1, 8, 8), dtype=np.uint8)
    apart = encoder.image.embed(frames.reshape(12, 1, 8, 8)).reshape(4, 3, -1).mean(1)
    assert np.allclose(encoder.embed(frames), apart, atol=1e-5)


def test_a_spectrogram_is_moved_in_time_and_loses_a_band():
    spectrograms = torch.rand(50, 16, 40) + 1
    generator = torch.Generator().manual_seed(0)
    moved = change(spectrograms, time_shift=0.25, hidden_band=0.0, generator=generator)
    shifts = [
        next(s for s in range(-10, 11) if torch.equal(a.roll(s, 1), b))
        for a, b in zip(spectrograms, moved, strict=True)
    ]
    assert min(shifts) < -5 and max(shifts) > 5
    hidden = change(spectrograms, time_shift=0.0, hidden_band=0.5, generator=generator)
    lost = (hidden == 0).all(2)
    assert 3 < lost.sum(1).float().mean() < 5 and lost.sum(1).max() <= 8
    assert torch.equal(hidden[~lost], spectrograms[~lost])
    assert (lost.int().diff(dim=1).abs().sum(1) <= 2).all()  # neighbours


def test_more_clips_a_batch_than_there_are_is_refused(clips):
    config = CONFIG.model_copy(update={"batch_size": 500})
    with pytest.raises(
        TrainingError, match="pretraining.batch_size: received 500, but there are 120 clips to train on"
    ):
        pretrain_encoder("video_audio", *clips, config, RECIPE)


@pytest.mark.parametrize(
    "constants, message",
    [
        ({"scale": 0.0}, "pretraining.method.scale: received 0.0, expected a number above 0"),
        ({"margin": 1}, "pretraining.method.margin is not a constant of video_audio: choose from scale"),
    ],
)
def test_a_wrong_constant_is_told_before_there_are_clips(constants, message):
    with pytest.raises(ConfigError, match=message):
        check("video_audio", CONFIG.model_copy(update={"method": constants}), RECIPE)
