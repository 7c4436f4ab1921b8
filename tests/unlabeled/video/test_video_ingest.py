import wave

import numpy as np
import pytest
from PIL import Image

from unlabeled.errors import DataError
from unlabeled.video import ingest as video_ingest
from unlabeled.video import moving_digits
from unlabeled.video.clips import read_clip, write_clip
from unlabeled.video.config import VideoIngestion
from unlabeled.video.ingest import ingest


def noise_clips(root, count, start=0, channels=1):
    """Films of two random frames and a random sound, each its own."""
    for seed in range(start, start + count):
        draw = np.random.default_rng(seed)
        frames = draw.integers(0, 256, (2, channels, 1, 1)).astype(np.uint8).repeat(16, 2).repeat(16, 3)
        write_clip(root / f"{seed}.mp4", frames, 2, draw.integers(-9000, 9000, 8000).astype(np.int16), 8000)
    return root


def ingested(root, **keys):
    keys = {"frames": 2, "image_size": 8} | keys
    return ingest(VideoIngestion(source="video", path=str(root), **keys), root.parent / "out")


def refusal(root, **keys):
    with pytest.raises(DataError) as refused:
        ingested(root, **keys)
    assert not list(root.parent.rglob("*.npy*"))
    return str(refused.value)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Twenty cats, a copy of one of them, and ten dogs."""
    root = tmp_path_factory.mktemp("data") / "films"
    noise_clips(root / "cat", 20), noise_clips(root / "dog", 10, start=20)
    (root / "cat" / "copy.mp4").write_bytes((root / "cat" / "0.mp4").read_bytes())
    return root


@pytest.fixture(scope="module")
def result(films):
    return ingested(films)


def test_frames_and_sounds_are_those_of_the_manifest(films, result):
    assert isinstance(result.frames, np.memmap) and isinstance(result.sounds, np.memmap)
    assert result.frames.shape == (31, 2, 1, 8, 8) and result.frames.dtype == np.uint8
    assert result.sounds.shape == (31, 8000) and result.sounds.dtype == np.int16
    for path, frames, sound in zip(result.manifest.path, result.frames, result.sounds, strict=True):
        clip = read_clip(films / path, VideoIngestion(frames=2, image_size=8, channels=1))
        np.testing.assert_array_equal(frames, clip.frames), np.testing.assert_array_equal(sound, clip.wave)


def test_the_manifest_has_a_row_a_clip(result):
    manifest = result.manifest
    columns = ["path", "sha256", "checksum", "width", "height", "seconds", "group", "label", "split", "target"]
    assert list(manifest) == columns
    assert (manifest.width == 16).all() and (manifest.height == 16).all() and (manifest.seconds == 1).all()
    assert manifest.target.tolist() == [0] * 21 + [1] * 10 and manifest.path.is_unique


def test_the_summary_says_what_there_is(result):
    summary = result.summary
    assert (summary["source"], summary["clips"], summary["labelled"], summary["quarantined"]) == ("films", 31, 31, 0)
    assert summary["classes"] == ["cat", "dog"] and summary["duplicates"] == 1
    stored = {"channels": 1, "image_size": 8, "frames": 2, "seconds": 1.0, "rate": 8000}
    assert stored.items() <= summary.items() and len(summary["data_digest"]) == 16
    assert summary["splits"] == dict(result.manifest.split.value_counts().sort_index())


def test_mean_and_std_are_of_what_is_no_test_clip(result):
    seen = result.frames[result.manifest.split != "test"] / 255
    np.testing.assert_allclose(result.summary["mean"], seen.mean(), atol=1e-6)
    np.testing.assert_allclose(result.summary["std"], seen.std(), atol=1e-6)


def test_copies_of_a_clip_share_its_split(result):
    assert (result.manifest.groupby("sha256").split.nunique() == 1).all() and result.manifest.sha256.nunique() == 30
    assert result.manifest.checksum.nunique() == 30


def test_clips_of_a_folder_are_a_group_where_that_is_said(tmp_path):
    for number in range(6):
        noise_clips(tmp_path / "films" / "cat" / f"film{number}", 2, start=2 * number)
    made = ingested(tmp_path / "films", group=r"film\d+")
    assert made.summary["groups"]["count"] == 6 and (made.manifest.groupby("group").split.nunique() == 1).all()


def test_copies_of_a_test_clip_are_excluded(tmp_path):
    noise_clips(tmp_path / "films" / "train", 3), noise_clips(tmp_path / "films" / "test", 1)
    splits = ingested(tmp_path / "films", validation_fraction=0.0).manifest.set_index("path").split
    assert splits.to_dict() == {f"train/{i}.mp4": "train" for i in (1, 2)} | {
        "train/0.mp4": "excluded",
        "test/0.mp4": "test",
    }


@pytest.mark.parametrize(
    "keys", [{"image_size": 4}, {"frames": 1}, {"seconds": 0.5}, {"rate": 16_000}, {"channels": 3}]
)
def test_the_digest_knows_how_clips_are_stored(films, result, keys):
    assert ingested(films, **keys).summary["data_digest"] != result.summary["data_digest"]


def test_channels_are_chosen_from_all_over_the_source(tmp_path):
    noise_clips(tmp_path / "films" / "a", 9), noise_clips(tmp_path / "films" / "b", 9, start=20, channels=3)
    assert ingested(tmp_path / "films", test_fraction=0.0).summary["channels"] == 3


def test_clips_with_colours_that_are_stored_grey_are_counted(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(video_ingest, "SAMPLE_SIZE", 2)
    noise_clips(tmp_path / "films" / "a", 18), noise_clips(tmp_path / "films" / "b", 2, start=20, channels=3)
    assert ingested(tmp_path / "films", test_fraction=0.0).summary["channels"] == 1
    assert "2 of 20 clips have colours and are stored grey, as the 2 that were looked at are" in caplog.text


def test_three_channels_where_a_clip_has_colours(tmp_path):
    noise_clips(tmp_path / "films", 4), noise_clips(tmp_path / "films", 1, start=4, channels=3)
    assert ingested(tmp_path / "films", test_fraction=0.0).summary["channels"] == 3


def test_what_cannot_be_used_is_listed_with_the_reason(tmp_path, film, steps, tone):
    root = noise_clips(tmp_path / "films", 4)
    film(root / "silent.mp4", steps()), film(root / "blind.mp4", wave=tone())
    (root / "torn.mp4").write_bytes(b"torn")
    (root / "metadata.csv").write_text("file_name\n" + "\n".join([p.name for p in root.glob("*.mp4")] + ["gone.mp4"]))
    result = ingested(root, max_quarantined=0.6)
    reasons = dict(zip(result.quarantine.path, result.quarantine.reason, strict=True))
    assert reasons == {
        "blind.mp4": "no frames: there is no video in it",
        "silent.mp4": "no sound",
        "torn.mp4": "damaged, or neither video nor WAV (Invalid data found when processing input)",
        "gone.mp4": "listed, but the file is missing",
    }
    assert len(result.manifest) == len(result.frames) == len(result.sounds) == 4


def test_too_many_that_cannot_be_used(tmp_path):
    root = noise_clips(tmp_path / "films", 4)
    (root / "torn.mp4").write_bytes(b"torn")
    message = refusal(root)
    assert message.startswith("1 of 5 clips cannot be used (the first, torn.mp4: damaged") and "\n" not in message
    assert (tmp_path / "out" / "quarantine.csv").exists()


def test_a_single_clip(tmp_path):
    assert refusal(noise_clips(tmp_path / "films", 1)).startswith("found 1 clip, and needs two at least")


def test_a_class_of_one_clip(tmp_path):
    noise_clips(tmp_path / "films" / "cat", 4), noise_clips(tmp_path / "films" / "dog", 1, start=4)
    assert "the class 'dog' has one clip, and needs two" in refusal(tmp_path / "films")


def test_folders_of_frames_have_a_digest_of_all_their_files(tmp_path, steps, tone):
    for name, shade in (("a", 10), ("b", 10), ("c", 20)):
        (tmp_path / "films" / name).mkdir(parents=True)
        Image.new("L", (8, 8), shade).save(tmp_path / "films" / name / "0.png")
        with wave.open(str(tmp_path / "films" / name / "sound.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", "")), file.writeframes(tone().tobytes())
    a, b, c = ingested(tmp_path / "films", test_fraction=0.0).manifest.sha256
    assert a == b != c


def test_the_embedded_clips(tmp_path, monkeypatch):
    monkeypatch.setattr(moving_digits, "CLIP_COUNT", 40), monkeypatch.setattr(moving_digits, "TEST_COUNT", 10)
    result = ingest(VideoIngestion(rare_labels="drop"), tmp_path)
    assert result.frames.shape == (40, 8, 1, 32, 32) and result.summary["source"] == "synthetic_moving_digits"
    assert result.summary["splits"]["test"] == 10 and len(list(tmp_path.glob("clips-*/*.mp4"))) == 40
