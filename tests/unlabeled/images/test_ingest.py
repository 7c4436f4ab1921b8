import os
import subprocess
import sys
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.stats import binomtest

import unlabeled.images.ingest
import unlabeled.images.pixels
import unlabeled.storage.reuse
from unlabeled.config import Ingestion
from unlabeled.errors import ConfigError, DataError
from unlabeled.images.decode import decode
from unlabeled.images.ingest import ingest
from unlabeled.images.sources import open_source
from unlabeled.ingestion.items import spread_over

PEAK = """
import sys
from pathlib import Path
from unlabeled.config import Ingestion
from unlabeled.images.ingest import ingest

all_for_training = {"validation_fraction": 0, "test_fraction": 0}  # they are copies of two photographs
config = Ingestion(source=sys.argv[1], path=sys.argv[2], image_size=256, **all_for_training)
count = len(ingest(config, Path(sys.argv[3])).images)
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(count, int(peak.split()[1]) // 1024)
"""
"""Prints how many images it ingested, and the most MiB that it ever held. (ru_maxrss counts the parent's too.)"""


def noise(seed, width=12, height=12, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def photos(root, count, start=0, **shape):
    """Distinct PNG files of noise."""
    root.mkdir(parents=True, exist_ok=True)
    for seed in range(start, start + count):
        noise(seed, **shape).save(root / f"{seed}.png")
    return root


def deep(high, seed=0, low=0, kind=np.uint16, size=12):
    """An image of noise with more than 8 bits a pixel, from one number to another."""
    numbers = np.random.default_rng(seed).random((size, size))
    numbers[0, :2] = 0, 1
    return Image.fromarray((low + numbers * (high - low)).astype(kind))


def torn(root, count):
    root.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        (root / f"torn{i}.png").write_bytes(b"torn")


def ingested(root, out=None, **options):
    source = "parquet" if root.suffix == ".parquet" else "image_folder"
    return ingest(Ingestion(source=source, path=str(root), **options), out or root.parent / "out")


def refusal(root, **options):
    with pytest.raises(DataError) as refused:
        ingested(root, **options)
    message = str(refused.value)
    assert "\n" not in message and not [p for p in root.parent.rglob("*") if "images.npy" in p.name]
    return message


def splits_of(result):
    return dict(zip(result.manifest.path, result.manifest.split, strict=True))


@pytest.fixture(scope="module")
def all_digits(tmp_path_factory):
    return ingest(Ingestion(), tmp_path_factory.mktemp("digits"))


def test_digits_come_out_whole(all_digits, digits):
    np.testing.assert_array_equal(all_digits.images, digits[0])
    assert all_digits.images.dtype == np.uint8 and isinstance(all_digits.images, np.memmap)
    np.testing.assert_array_equal(all_digits.manifest.target, digits[1])
    assert len(all_digits.quarantine) == 0 and list(all_digits.quarantine) == ["path", "reason"]


def test_the_manifest_has_a_row_an_image(all_digits):
    manifest = all_digits.manifest
    columns = ["path", "sha256", "checksum", "width", "height", "mode", "group", "label", "split", "target"]
    assert list(manifest) == columns
    assert len(manifest) == 1797 and manifest.path.is_unique and manifest.target.dtype == np.int64
    assert (manifest.width == 8).all() and (manifest.height == 8).all()
    assert (manifest.label == manifest.target.astype(str)).all()
    assert manifest.sha256.str.fullmatch("[0-9a-f]{64}").all()


def test_the_summary_says_what_there_is(all_digits):
    summary = all_digits.summary
    assert summary["source"] == "digits" and summary["classes"] == [str(digit) for digit in range(10)]
    assert (summary["images"], summary["labelled"], summary["quarantined"], summary["duplicates"]) == (1797, 1797, 0, 0)
    assert (summary["channels"], summary["image_size"]) == (1, 8)
    assert summary["splits"] == dict(all_digits.manifest.split.value_counts().sort_index())
    assert summary["splits"].keys() == {"train", "validation", "test"} and len(summary["data_digest"]) == 16


def test_of_new_files_only_the_images_are_left_in_the_folder(tmp_path):
    ingested(photos(tmp_path / "photos", 5))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images.npy"]


def test_mean_and_std_are_numpys_of_what_is_no_test_image(tmp_path):
    result = ingested(photos(tmp_path / "photos", 60))
    seen = result.images[result.manifest.split != "test"] / 255
    np.testing.assert_allclose(result.summary["mean"], seen.mean((0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(result.summary["std"], seen.std((0, 2, 3)), atol=1e-6)


def test_channels_that_are_the_same_in_all_images_have_a_std_to_divide_by(tmp_path):
    (tmp_path / "photos").mkdir()
    for value in range(5):
        Image.new("RGB", (8, 8), (255, 50 * value, 0)).save(tmp_path / "photos" / f"{value}.png")
    summary = ingested(tmp_path / "photos", test_fraction=0.0).summary
    assert summary["mean"] == pytest.approx([1, 100 / 255, 0], abs=1e-6)
    assert summary["std"] == pytest.approx([1 / 255, 50 * 2**0.5 / 255, 1 / 255], abs=1e-6)


@pytest.mark.parametrize("validation, test", [(0, 0), (0, 0.2), (0.1, 0.2), (0.3, 0), (0.3, 0.6)])
def test_splits_have_the_shares_asked_for(tmp_path, validation, test):
    result = ingest(Ingestion(validation_fraction=validation, test_fraction=test), tmp_path)
    for split, share in {"validation": validation, "test": test, "train": 1 - validation - test}.items():
        assert binomtest(result.summary["splits"].get(split, 0), 1797, share).pvalue > 1e-3


def test_splits_know_nothing_of_the_classes(all_digits):
    held_out = all_digits.manifest[all_digits.manifest.split == "test"]
    for count in held_out.target.value_counts():
        assert binomtest(int(count), 1797, 0.02).pvalue > 1e-4


def test_an_image_stays_in_its_split_when_others_come_and_go(tmp_path):
    before = splits_of(ingested(photos(tmp_path / "photos", 60)))
    photos(tmp_path / "photos", 60, start=60)
    (tmp_path / "photos" / "3.png").unlink()
    after = splits_of(ingested(tmp_path / "photos"))
    assert len(set(before.values())) == 3 and len(after) == 119
    assert {path: after[path] for path in before if path != "3.png"}.items() <= before.items()


def test_an_image_stays_in_its_split_wherever_it_lies(tmp_path):
    before = splits_of(ingested(photos(tmp_path / "photos", 30)))
    photos(tmp_path / "others" / "class", 30)
    after = splits_of(ingested(tmp_path / "others"))
    assert after == {f"class/{path}": split for path, split in before.items()}


def test_copies_of_an_image_share_its_split(tmp_path):
    photos(tmp_path / "photos" / "cat", 40), photos(tmp_path / "photos" / "dog", 40)
    result = ingested(tmp_path / "photos")
    assert result.summary["duplicates"] == 40 and len(result.images) == 80
    assert (result.manifest.groupby("sha256").split.nunique() == 1).all()


def straddling_pixels(manifest):
    """Checksums of pixels that lie in two splits to learn from or to test on."""
    splits = manifest[manifest.split != "excluded"].groupby("checksum").split.nunique()
    return splits[splits > 1].index.tolist()


def test_images_saved_twice_in_other_ways_never_straddle_splits(tmp_path):
    photos(tmp_path / "photos", 200)
    for seed in range(200):
        noise(seed).save(tmp_path / "photos" / f"again{seed}.png", compress_level=1, dpi=(72, 72))
    result = ingest(Ingestion(source="image_folder", path=str(tmp_path / "photos")), tmp_path)
    assert result.manifest.sha256.nunique() == 400 and result.summary["duplicates"] == 200
    assert not straddling_pixels(result.manifest) and (result.manifest.split == "excluded").any()


def test_different_photographs_that_are_stored_alike_are_copies(tmp_path):
    photos(tmp_path / "photos", 20)
    for side in range(20, 60):
        Image.new("RGB", (side, side)).save(tmp_path / "photos" / f"black{side}.png")
    result = ingest(Ingestion(source="image_folder", path=str(tmp_path / "photos")), tmp_path)
    assert result.summary["duplicates"] == 39 and not straddling_pixels(result.manifest)


@pytest.mark.parametrize("other, held_out", [("train", "test"), ("train", "validation"), ("validation", "test")])
def test_copies_of_what_is_held_out_are_excluded_elsewhere(tmp_path, other, held_out):
    for split in ("train", "validation", "test"):
        photos(tmp_path / "photos" / split, 5, start=100 * len(split))
    photos(tmp_path / "photos" / other, 2, start=0), photos(tmp_path / "photos" / held_out, 2, start=0)
    splits = splits_of(ingested(tmp_path / "photos"))
    assert {path for path, split in splits.items() if split == "excluded"} == {f"{other}/0.png", f"{other}/1.png"}
    assert splits[f"{held_out}/0.png"] == held_out


def test_official_splits_are_kept(tmp_path):
    for number, split in enumerate(("train", "val", "test")):
        photos(tmp_path / "photos" / split / "cat", 40, start=40 * number)
    result = ingested(tmp_path / "photos", validation_fraction=0.3, test_fraction=0.3)
    assert result.summary["splits"] == {"test": 40, "train": 40, "validation": 40}
    assert all(path.startswith(split[:3]) for path, split in splits_of(result).items())
    assert result.summary["splits_from"] == "official: train/, val/, test/"


def test_an_official_validation_split_stays_and_a_test_split_is_drawn_from_train(tmp_path):
    photos(tmp_path / "photos" / "train", 200), photos(tmp_path / "photos" / "validation", 40, start=200)
    result = ingested(tmp_path / "photos", test_fraction=0.3)
    splits = splits_of(result)
    assert {path for path, split in splits.items() if split == "validation"} == {
        f"validation/{i}.png" for i in range(200, 240)
    }
    assert binomtest(result.summary["splits"]["test"], 200, 0.3).pvalue > 1e-3
    said = "official: train/, validation/; drawn from train by content: test (30%)"
    assert result.summary["splits_from"] == said


def test_an_image_for_testing_stays_one_when_a_validation_folder_is_added(tmp_path):
    photos(tmp_path / "photos" / "train", 100)
    before = splits_of(ingested(tmp_path / "photos"))
    photos(tmp_path / "photos" / "val", 20, start=100)
    after = splits_of(ingested(tmp_path / "photos"))
    assert {path for path in before if before[path] == "test"} == {path for path in after if after[path] == "test"}


def test_the_summary_shows_what_was_understood(tmp_path, caplog):
    caplog.set_level("INFO", "unlabeled")
    root = tmp_path / "photos"
    photos(root / "train/cat", 4), photos(root / "train/dog", 3, start=10), photos(root / "test/cat", 2, start=20)
    photos(root / "unlabeled", 5, start=30)
    for name in ("LICENSE", "README.md", "train/cat/.DS_Store", "train/cat/0.xml"):
        (root / name).write_text("no image")
    summary = ingested(root, validation_fraction=0.0).summary
    assert summary["counts"] == {"cat": {"train": 4, "test": 2}, "dog": {"train": 3}, "": {"train": 5}}
    assert summary["splits_from"] == "official: train/, unlabeled/, test/" and summary["warnings"] == []
    assert summary["left_out"] == {
        "left by systems and tools": {"count": 1, "names": ["train/cat/.DS_Store"]},
        "not images by their names": {"count": 3, "names": ["LICENSE", "README.md", "train/cat/0.xml"]},
    }
    table = [line.split() for line in caplog.messages]
    assert ["class", "train", "test", "all"] in table and ["cat", "4", "2", "6"] in table
    assert ["dog", "3", "–", "3"] in table and ["all", "12", "2", "14"] in table
    assert "left out: 1 left by systems and tools (train/cat/.DS_Store); 3 not images" in caplog.text


def test_validation_is_cut_from_train_and_nothing_from_an_official_test(tmp_path):
    photos(tmp_path / "photos" / "train", 100), photos(tmp_path / "photos" / "test", 30, start=100)
    result = ingested(tmp_path / "photos", validation_fraction=0.3)
    in_train = [split for path, split in splits_of(result).items() if path.startswith("train")]
    assert set(in_train) == {"train", "validation"} and result.summary["splits"]["test"] == 30


def test_a_test_split_is_cut_where_there_is_a_train_folder_alone(tmp_path):
    photos(tmp_path / "photos" / "train", 60)
    assert ingested(tmp_path / "photos").summary["splits"].keys() == {"train", "validation", "test"}


def test_a_fraction_keeps_the_official_test_whole(tmp_path):
    photos(tmp_path / "photos" / "train", 200), photos(tmp_path / "photos" / "test", 50, start=200)
    result = ingested(tmp_path / "photos", fraction=0.3)
    assert result.summary["splits"]["test"] == 50
    assert binomtest(result.summary["images"] - 50, 200, 0.3).pvalue > 1e-3


def test_a_larger_fraction_holds_the_smaller_and_moves_nothing(tmp_path):
    photos(tmp_path / "photos", 200)
    small, large, whole = (splits_of(ingested(tmp_path / "photos", fraction=f)) for f in (0.2, 0.5, 1.0))
    assert small.items() < large.items() < whole.items() and len(whole) == 200
    assert len(set(small.values())) > 1  # the choice is independent of the split


def digest(root, **options):
    return ingested(root, **options).summary["data_digest"]


def test_the_digest_does_not_know_names_and_order(tmp_path):
    photos(tmp_path / "photos", 20)
    for i in range(20):
        (tmp_path / "others").mkdir(exist_ok=True)
        (tmp_path / "others" / f"{19 - i:02d}.png").write_bytes((tmp_path / "photos" / f"{i}.png").read_bytes())
    assert digest(tmp_path / "photos") == digest(tmp_path / "photos") == digest(tmp_path / "others")


@pytest.mark.parametrize("options", [{"image_size": 10}, {"channels": 1}, {"test_fraction": 0.5}, {"fraction": 0.5}])
def test_the_digest_knows_what_was_done_with_the_images(tmp_path, options):
    photos(tmp_path / "photos", 20)
    assert digest(tmp_path / "photos") != digest(tmp_path / "photos", **options)


def test_the_digest_knows_content_and_labels(tmp_path):
    root = photos(tmp_path / "photos" / "cat", 20).parent
    digests = [digest(root)]
    (root / "cat").rename(root / "dog")
    digests.append(digest(root))
    noise(99).save(root / "dog" / "0.png")
    digests.append(digest(root))
    (root / "dog" / "1.png").unlink()
    digests.append(digest(root))
    assert len(set(digests)) == 4


def test_classes_are_numbered_as_people_count(tmp_path):
    labels = ["img10", "img2", "2", "10", "Zebra", "ant"]
    for number, label in enumerate(labels):
        photos(tmp_path / "photos" / label, 2, start=2 * number)
    result = ingested(tmp_path / "photos", test_fraction=0.0, validation_fraction=0.0)
    assert result.summary["classes"] == ["2", "10", "Zebra", "ant", "img2", "img10"]
    assert [result.summary["classes"][t] for t in result.manifest.target] == result.manifest.label.tolist()


def test_images_without_a_label_have_none(tmp_path):
    photos(tmp_path / "photos", 20), photos(tmp_path / "photos" / "cat", 20, start=20)
    result = ingested(tmp_path / "photos")
    assert result.summary["labelled"] == 20 and result.summary["classes"] == ["cat"]
    assert result.manifest.label.isna().sum() == 20 and sorted(result.manifest.target.unique()) == [-1, 0]


def test_without_any_label_there_are_no_classes(tmp_path):
    result = ingested(photos(tmp_path / "photos", 20))
    assert result.summary["labelled"] == 0 and result.summary["classes"] == []
    assert result.manifest.label.isna().all() and (result.manifest.target == -1).all()


def test_every_mode_and_format_becomes_one_array(tmp_path):
    (tmp_path / "photos").mkdir()
    kinds = [("RGB", "png"), ("RGBA", "png"), ("P", "gif"), ("CMYK", "jpg"), ("L", "jpg"), ("1", "png"), ("L", "webp")]
    for number, (mode, form) in enumerate(kinds):
        noise(number, 30 + number, 20).convert(mode).save(tmp_path / "photos" / f"{number}.{form}")
    deep(65_535, size=25).save(tmp_path / "photos" / "7.png")
    result = ingested(tmp_path / "photos", image_size=16, test_fraction=0.0)
    assert result.images.shape == (8, 3, 16, 16) and len(result.quarantine) == 0
    for path, image in zip(result.manifest.path, result.images, strict=True):
        np.testing.assert_array_equal(image, decode((tmp_path / "photos" / path).read_bytes(), 16, 3).pixels)


def test_images_are_in_the_order_of_the_manifest_however_long_they_take(tmp_path):
    for number in range(50):
        photos(tmp_path / "photos", 4, start=4 * number, width=8 + 300 * (number % 2), height=8)
    result = ingested(tmp_path / "photos")
    for path, image in zip(result.manifest.path, result.images, strict=True):
        np.testing.assert_array_equal(image, decode((tmp_path / "photos" / path).read_bytes(), 8, 3).pixels)


@pytest.mark.parametrize("size, chosen", [((8, 8), 8), ((40, 30), 30), ((200, 150), 96), ((2, 2), 4)])
def test_the_size_is_the_images_own_and_at_most_96(tmp_path, size, chosen):
    photos(tmp_path / "photos", 5, width=size[0], height=size[1])
    assert ingested(tmp_path / "photos").images.shape == (5, 3, chosen, chosen)


def test_of_mixed_sizes_the_middle_one_is_chosen(tmp_path):
    for number, size in enumerate((10, 10, 20, 20, 20, 50, 90)):
        photos(tmp_path / "photos", 1, start=number, width=size, height=size + 5)
    assert ingested(tmp_path / "photos").summary["image_size"] == 20


def test_one_channel_is_chosen_where_all_are_grey(tmp_path):
    photos(tmp_path / "photos", 5, channels=1)
    noise(9, channels=1).convert("1").save(tmp_path / "photos" / "bits.png")
    noise(9, channels=1).convert("LA").save(tmp_path / "photos" / "clear.png")
    deep(65_535).save(tmp_path / "photos" / "deep.png")
    assert ingested(tmp_path / "photos").images.shape == (8, 1, 12, 12)
    noise(10).save(tmp_path / "photos" / "colour.png")
    assert ingested(tmp_path / "photos").images.shape == (9, 3, 12, 12)


def sources_of(tmp_path, images):
    """A source of each kind with these images in this order, by name."""
    root = tmp_path / "sources"
    for number, image in enumerate(images):
        (root / "files").mkdir(parents=True, exist_ok=True)
        image.save(root / "files" / f"{number:04}.png")
    rows = [{"bytes": file.read_bytes(), "path": None} for file in sorted((root / "files").iterdir())]
    parts = {"one": [rows], "many": [rows[start : start + 20] for start in range(0, len(rows), 20)]}
    for name, groups in parts.items():
        for number, group in enumerate(groups):
            (root / name).mkdir(exist_ok=True)
            pq.write_table(pa.table({"image": group}), root / name / f"{number:03}.parquet", row_group_size=500)
    small = pa.table({"image": rows})
    pq.write_table(small, root / "groups.parquet", row_group_size=7)
    return {"folder": root / "files", "parquet": root / "groups.parquet", "one": root / "one", "many": root / "many"}


@pytest.mark.parametrize("kind", ["folder", "parquet", "one", "many"])
def test_size_and_channels_are_chosen_from_all_over_the_source(tmp_path, kind):
    images = [noise(i, 8, 8, channels=1) for i in range(300)] + [noise(i, 20, 20) for i in range(300, 700)]
    source = sources_of(tmp_path, images)[kind]
    options = {} if kind == "folder" else {"source": "parquet"}
    summary = ingest(Ingestion(**{"source": "image_folder", "path": str(source)} | options), tmp_path / "out").summary
    assert (summary["channels"], summary["image_size"], summary["images"]) == (3, 20, 700)


@pytest.mark.parametrize("total, count", [(0, 5), (1, 5), (5, 5), (6, 5), (1000, 64), (10**6, 256)])
def test_a_sample_is_spread_over_all(total, count):
    numbers = spread_over(total, count)
    assert len(numbers) == min(total, count)
    steps = np.diff([-1, *numbers, total])
    assert steps.min() > 0 and steps.max() <= 1 + 2 * total / count


def test_a_sample_sees_both_of_two_kinds_that_take_turns():
    assert 0.3 < (spread_over(10_000, 100) % 2).mean() < 0.7


def test_a_sample_takes_nothing_from_the_source(tmp_path):
    for path in (photos(tmp_path / "photos", 30), sources_of(tmp_path, map(noise, range(30)))["parquet"]):
        source = open_source(Ingestion(source="parquet" if path.suffix else "image_folder", path=str(path)))
        assert len(list(source.sample(10))) in (5, 10) and len(list(source.sample(1000))) in (5, 30)
        assert len(list(source.items)) == source.total == 30


def warned(caplog):
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


def test_colours_that_are_stored_grey_are_counted_again_when_rows_are_taken_over(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(unlabeled.images.ingest, "SAMPLE_SIZE", 8)
    photos(tmp_path / "in", 97, channels=1, start=100), photos(tmp_path / "in" / "x", 3, start=300)
    for _ in range(2):
        assert kept(tmp_path / "in", tmp_path / "out").summary["channels"] == 1
    told = (
        "3 of 100 images have colours and are stored grey, as the 8 that were looked at are: set ingestion.channels=3"
    )
    assert [message.startswith(told) for message in warned(caplog)] == [True, True]
    caplog.clear()
    kept(tmp_path / "in", tmp_path / "out", channels=1)
    assert warned(caplog) == []


def test_images_that_are_enlarged_are_counted(tmp_path, caplog):
    photos(tmp_path / "in", 5, width=10, height=30), photos(tmp_path / "in" / "x", 10, start=10, width=20, height=20)
    ingested(tmp_path / "in")
    assert warned(caplog) == [
        "5 of 15 images are smaller than the 20 pixels a side that are stored, the smallest has 10, and were enlarged: "
        "ingestion.image_size is the size that is stored"
    ]


def folder_of(tmp_path, images, form="png"):
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(images):
        image.save(tmp_path / "photos" / f"{number:03}.{form}")
    return tmp_path / "photos"


def test_twelve_bits_in_sixteen_are_refused_and_read_where_it_is_said_which_are_white(tmp_path):
    root = folder_of(tmp_path, [deep(4095, seed) for seed in range(40)])
    assert refusal(root) == (
        "12 of 12 images of more than 8 bits that were looked at have values from 0 to 4,095, where 65,535 is white, "
        "so that they would be nearly black: before training, set ingestion.pixel_range to the values that are black "
        "and white, such as 0+4095, or convert the images to 8 bits"
    )
    result = ingested(root, pixel_range=[0, 4095])
    assert result.images.max() == 255 and result.summary["pixel_range"] == (0, 4095)
    assert result.summary["data_digest"] != ingested(root, pixel_range=[0, 65_535]).summary["data_digest"]


def test_brightness_stays_comparable_across_images_of_many_bits(tmp_path):
    root = folder_of(tmp_path, [deep(high, high) for high in (1000, 2000, 4000, 60_000)])
    brightest = ingested(root, image_size=12, test_fraction=0.0).images.max((1, 2, 3))
    np.testing.assert_array_equal(brightest, np.round(np.array([1000, 2000, 4000, 60_000]) / 257))


def test_numbers_without_a_range_are_refused_with_those_seen(tmp_path):
    root = folder_of(tmp_path, [deep(1000, seed, -1000, np.int32) for seed in range(8)], "tiff")
    assert "have values from -1,000 to 1,000, which have no agreed range: before training, set" in refusal(root)
    assert ingested(root, pixel_range="-1000+1000").images.min() == 0


def test_a_few_images_without_a_range_go_to_quarantine(tmp_path):
    root = photos(tmp_path / "photos", 30)
    deep(1, kind=np.float32).save(root / "x.tiff")
    assert ingested(root).quarantine.to_numpy().tolist() == [
        [
            "x.tiff",
            "floating-point pixels have no agreed range: set ingestion.pixel_range to the numbers that are black and "
            "white",
        ]
    ]


def test_a_few_images_that_are_nearly_black_are_told_of(tmp_path, caplog):
    root = photos(tmp_path / "photos", 30, channels=1)
    deep(4095).save(root / "x.png")
    for _ in range(2):
        assert len(kept(root, tmp_path / "out").images) == 31
    assert [message.split(":")[0] for message in warned(caplog)] == [
        "1 of 31 images have more than 8 bits and are nearly black"
    ] * 2


@pytest.mark.parametrize("given", ["0+4095", [0, 4095], (0.0, 4095.0)])
def test_a_range_is_written_in_a_file_or_on_a_command_line(given):
    assert Ingestion(pixel_range=given).pixel_range == (0, 4095)


@pytest.mark.parametrize("given", ["4095+0", [1, 1], "a+b", [1], "5"])
def test_what_is_no_range_is_refused(given):
    with pytest.raises(ConfigError, match="pixel_range"):
        Ingestion.model_validate({"pixel_range": given})


@pytest.mark.parametrize("channels", [1, 3])
def test_size_and_channels_are_as_asked(tmp_path, channels):
    photos(tmp_path / "photos", 5)
    assert ingested(tmp_path / "photos", image_size=7, channels=channels).images.shape == (5, channels, 7, 7)


def test_what_cannot_be_used_is_listed_with_the_reason(tmp_path):
    root = photos(tmp_path / "photos", 100)
    content = (root / "0.png").read_bytes()
    (root / "empty.png").write_bytes(b"")
    (root / "notes.txt").write_text("hello")
    (root / "short.png").write_bytes(content[: len(content) // 2])
    noise(1, 100, 100).save(root / "bomb.png")
    rows = [path.name for path in root.iterdir()] + ["gone.png"]
    (root / "metadata.csv").write_text("\n".join(["file_name", *rows]))
    result = ingested(root, max_pixels=9999)
    reasons = dict(zip(result.quarantine.path, result.quarantine.reason, strict=True))
    assert "truncated" in reasons.pop("short.png") and reasons == {
        "empty.png": "empty file",
        "notes.txt": "not an image",
        "bomb.png": "larger than ingestion.max_pixels=9999",
        "gone.png": "listed, but the file is missing",
    }
    assert len(result.images) == len(result.manifest) == 100 and result.summary["quarantined"] == 5


def test_a_file_that_is_gone_when_its_turn_comes_goes_to_quarantine(tmp_path):
    root = photos(tmp_path / "photos", 30)
    (root / "dangling.png").symlink_to(root / "nowhere")
    result = ingested(root)
    assert len(result.images) == 30 and "No such file" in result.quarantine.reason[0]


def test_a_large_file_is_not_read_before_its_header_says_that_it_is_an_image(tmp_path, monkeypatch):
    monkeypatch.setattr(unlabeled.images.pixels, "MAX_UNCHECKED_BYTES", 1000)
    root = photos(tmp_path / "photos", 30, width=40, height=40)
    (root / "video.xyz").write_bytes(bytes(2000))
    read, read_file = [], unlabeled.images.pixels.read_file
    monkeypatch.setattr(unlabeled.images.pixels, "read_file", lambda path: read.append(path.name) or read_file(path))
    result = ingested(root)
    assert result.quarantine.values.tolist() == [["video.xyz", "not an image"]]
    assert len(result.images) == 30 and "video.xyz" not in read and "29.png" in read


@pytest.mark.skipif(sys.platform != "linux", reason="file systems elsewhere refuse such names")
def test_names_that_are_no_utf_8_are_read_and_told_as_well_as_can_be(tmp_path):
    root = photos(tmp_path / "photos", 4)
    (root / "0.png").rename(root / os.fsdecode(b"caf\xe9.png"))
    manifest = ingested(root).manifest
    assert manifest.path.tolist()[-1] == "caf\ufffd.png"
    manifest.to_parquet(tmp_path / "manifest.parquet")


def test_as_many_damaged_images_as_allowed_pass_and_one_more_stops(tmp_path):
    torn(photos(tmp_path / "photos", 18), 2)
    assert ingested(tmp_path / "photos", tmp_path / "a", max_quarantined=0.1).summary["quarantined"] == 2
    with pytest.raises(DataError, match="2 of 20 images cannot be used"):
        ingested(tmp_path / "photos", tmp_path / "b", max_quarantined=0.09)


def test_too_much_damage_leaves_its_list_and_no_images(tmp_path):
    torn(photos(tmp_path / "photos", 18), 2)
    assert refusal(tmp_path / "photos") == (
        f"2 of 20 images cannot be used (the first, torn0.png: not an image), more than ingestion.max_quarantined=0.05 "
        f"allows: see {tmp_path}/out/quarantine.csv"
    )
    assert list(pd.read_csv(tmp_path / "out" / "quarantine.csv").path) == ["torn0.png", "torn1.png"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["quarantine.csv"]


def test_a_run_that_stops_leaves_the_earlier_images_alone(tmp_path):
    before = np.array(ingested(photos(tmp_path / "photos", 18)).images)
    torn(tmp_path / "photos", 2)
    with pytest.raises(DataError):
        ingested(tmp_path / "photos")
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "images.npy"), before)


def test_a_source_that_breaks_off_leaves_nothing(tmp_path):
    images = [{"bytes": noise(i).tobytes() * 9, "path": None} for i in range(300)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": images}), path, compression="none", use_dictionary=False)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + b"\xff" * 300_000 + content[len(content) // 2 + 300_000 :])
    assert "cannot be read as Parquet" in refusal(path)


@pytest.mark.parametrize("count, found", [(0, "no"), (1, "1")])
def test_two_images_are_the_least(tmp_path, count, found):
    images = [{"bytes": encoded(noise(i), "PNG"), "path": None} for i in range(count)]
    pq.write_table(pa.table({"image": pa.array(images, IMAGE)}), tmp_path / "a.parquet")
    message = f"found {found} image, and needs two at least to learn what tells them apart"
    assert refusal(tmp_path / "a.parquet") == message


def test_copies_of_one_image_are_one_image_however_they_are_saved(tmp_path):
    root = tmp_path / "photos"
    for name, compression in product("ab", range(8)):
        (root / name).mkdir(parents=True, exist_ok=True)
        noise(0).save(root / name / f"{compression}.png", compress_level=compression)
    start = "found 16 files, all of one image, and needs two different images at least"
    assert refusal(root).startswith(start)
    noise(1).save(root / "a" / "another.png")
    assert len(ingested(root, test_fraction=0, validation_fraction=0).images) == 17


IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def encoded(image, form, **options):
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_a_class_with_one_image_is_refused(tmp_path):
    photos(tmp_path / "photos" / "cat", 20), photos(tmp_path / "photos" / "dog", 1, start=20)
    assert refusal(tmp_path / "photos").startswith("the class 'dog' has one image, and needs two to be learned")


def test_a_class_with_one_image_can_be_dropped_and_its_image_kept(tmp_path):
    photos(tmp_path / "photos" / "cat", 20), photos(tmp_path / "photos" / "ant", 1, start=20)
    result = ingested(tmp_path / "photos", rare_labels="drop")
    assert result.summary["classes"] == ["cat"] and result.summary["labelled"] == 20 and len(result.images) == 21
    rare = result.manifest[result.manifest.path == "ant/20.png"].iloc[0]
    assert rare.target == -1 and pd.isna(rare.label)


def test_images_that_are_all_for_testing_are_refused(tmp_path):
    photos(tmp_path / "photos" / "test", 10)
    assert refusal(tmp_path / "photos").startswith("none of the 10 images falls into the train split")


def test_train_images_that_are_all_copies_of_test_images_are_refused(tmp_path):
    photos(tmp_path / "photos" / "train", 10), photos(tmp_path / "photos" / "test", 10)
    assert refusal(tmp_path / "photos").startswith("none of the 20 images falls into the train split")


def test_parquet_and_a_folder_of_the_same_files_are_the_same_data(tmp_path):
    root = photos(tmp_path / "photos" / "cat", 30).parent
    files = sorted((root / "cat").iterdir())
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    pq.write_table(pa.table({"image": images, "label": ["cat"] * 30}), tmp_path / "a.parquet")
    table, folder = ingested(tmp_path / "a.parquet", tmp_path / "1"), ingested(root, tmp_path / "2")
    np.testing.assert_array_equal(table.images, folder.images)
    assert table.summary["data_digest"] == folder.summary["data_digest"]


@pytest.fixture
def decoded(monkeypatch):
    """How many images have been decoded."""
    done = []
    monkeypatch.setattr(unlabeled.images.pixels, "decode", lambda *what: done.append(what) or decode(*what))
    return done


@pytest.fixture
def settled(monkeypatch):
    """Files that have just been written count as files that nobody has touched for long."""
    monkeypatch.setattr(unlabeled.storage.reuse, "SETTLED_NANOSECONDS", -1)


def kept(root, out, **options):
    """Ingested into a folder that remembers, as the stage leaves it."""
    result = ingested(root, out, **options)
    result.manifest.to_parquet(out / "manifest.parquet")
    return result


def test_only_new_images_are_decoded_and_the_result_is_that_of_all_at_once(tmp_path, decoded):
    kept(photos(tmp_path / "in", 20, start=10), tmp_path / "out")
    decoded.clear()
    photos(tmp_path / "in", 10)  # 0 to 9, which come first
    grown = kept(tmp_path / "in", tmp_path / "out")
    assert len(decoded) == 10
    whole = ingested(tmp_path / "in", tmp_path / "at once")
    np.testing.assert_array_equal(grown.images, whole.images)
    pd.testing.assert_frame_equal(grown.manifest, whole.manifest)
    assert grown.summary["data_digest"] == whole.summary["data_digest"]


def test_files_that_nobody_has_touched_are_not_read(tmp_path, settled, monkeypatch):
    photos(tmp_path / "in", 100)
    before, read, read_file = kept(tmp_path / "in", tmp_path / "out"), [], unlabeled.images.pixels.read_file
    (tmp_path / "in/7.png").write_bytes((tmp_path / "in/8.png").read_bytes())
    monkeypatch.setattr(unlabeled.images.pixels, "read_file", lambda path: read.append(path.name) or read_file(path))
    after = kept(tmp_path / "in", tmp_path / "out")
    assert read == ["7.png"]
    assert after.summary["duplicates"] == 1 and set(after.manifest.sha256) < set(before.manifest.sha256)


def test_images_that_are_gone_are_gone_and_the_others_stay_where_they_are(tmp_path, decoded):
    before = kept(photos(tmp_path / "in", 20), tmp_path / "out")
    decoded.clear()
    for name in ("3.png", "11.png"):
        (tmp_path / "in" / name).unlink()
    after = kept(tmp_path / "in", tmp_path / "out")
    assert not decoded and len(after.images) == 18
    assert splits_of(after) == {n: s for n, s in splits_of(before).items() if n not in ("3.png", "11.png")}


def test_a_label_that_has_changed_is_changed_without_decoding(tmp_path, decoded):
    for label in ("cat", "dog"):
        photos(tmp_path / "in" / label, 4, start=len(label) * ord(label[0]))
    kept(tmp_path / "in", tmp_path / "out")
    decoded.clear()
    (tmp_path / "in/dog").rename(tmp_path / "in/wolf")
    assert set(kept(tmp_path / "in", tmp_path / "out").manifest.label) == {"cat", "wolf"} and not decoded


@pytest.mark.parametrize("options", [{"image_size": 9}, {"channels": 1}, {"max_pixels": 150}])
def test_images_that_are_to_be_stored_otherwise_are_decoded_again(tmp_path, decoded, settled, options):
    kept(photos(tmp_path / "in", 5), tmp_path / "out")
    decoded.clear()
    kept(tmp_path / "in", tmp_path / "out", **options)
    assert len(decoded) == 5


@pytest.mark.parametrize("name", ["images.npy", "manifest.parquet"])
def test_stored_images_that_are_damaged_are_decoded_again(tmp_path, settled, name):
    whole = np.array(kept(photos(tmp_path / "in", 5), tmp_path / "out").images)
    content = bytearray((tmp_path / "out" / name).read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "out" / name).write_bytes(content)
    np.testing.assert_array_equal(kept(tmp_path / "in", tmp_path / "out").images, whole)


def test_a_folder_that_cannot_be_written_to_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        ingested(photos(tmp_path / "photos", 5), tmp_path / "file" / "out")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process's memory is read on Linux")
@pytest.mark.parametrize("source", ["image_folder", "parquet"])
def test_memory_does_not_grow_with_the_images(tmp_path, source):
    photos, random = [encoded(noise(i, 32, 32).resize((256, 256)), "JPEG") for i in range(2)], np.random.default_rng(0)
    count = max(256, 64 * os.cpu_count())  # more than are ever under way
    peaks = {}
    for total in (count, 4 * count):
        # What follows the end of a JPEG is not looked at.
        files = [photos[number % 2] + random.bytes(30_000) for number in range(total)]
        path = tmp_path / f"{total}.parquet"
        if source == "parquet":
            table = pa.table({"image": [{"bytes": file, "path": None} for file in files]})
            pq.write_table(table, path, write_batch_size=32)  # one group of rows, of many pages
        else:
            path.mkdir()
            for number, file in enumerate(files):
                (path / f"{number}.jpg").write_bytes(file)
        command = [sys.executable, "-c", PEAK, source, path, tmp_path / "out"]
        # One arena: how many a C library keeps for how many threads is chance, and megabytes.
        environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
        found, peaks[total] = map(int, subprocess.check_output(command, text=True, env=environment).split())
        assert found == total
    stored = 3 * count * 256 * 256 * 3 / 2**20  # MiB more in the file
    assert peaks[4 * count] - peaks[count] < 0.2 * stored


def test_images_are_decoded_again_where_they_are_resized_in_another_way(tmp_path):
    root = photos(tmp_path / "photos", 12, width=24, height=12)
    out = tmp_path / "out"
    results = {}
    for resize in ("crop", "pad", "squash"):
        found = kept(root, out, image_size=12, resize=resize)
        fresh = ingested(root, tmp_path / resize, image_size=12, resize=resize)
        np.testing.assert_array_equal(found.images, fresh.images)
        assert found.summary["resize"] == resize
        results[found.summary["data_digest"]] = found.images.tobytes()
    assert len(results) == len(set(results.values())) == 3


def test_what_is_no_way_to_resize_is_refused():
    with pytest.raises(ConfigError, match="ingestion.resize: received 'stretch', expected 'crop', 'pad' or 'squash'"):
        Ingestion.model_validate({"resize": "stretch"})


def test_a_long_image_is_enlarged_where_its_shorter_side_is_resized_and_not_where_it_is_padded(tmp_path, caplog):
    root = photos(tmp_path / "photos", 10, width=30, height=10)
    for resize in ("crop", "squash"):
        kept(root, tmp_path / "out", image_size=20, resize=resize)
    assert len(warned(caplog)) == 2
    kept(root, tmp_path / "out", image_size=20, resize="pad")
    assert len(warned(caplog)) == 2
