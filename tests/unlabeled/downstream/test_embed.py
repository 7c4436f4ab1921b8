import json
import os
import shutil
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from unlabeled.downstream import embed
from unlabeled.downstream.embed import embed_folder
from unlabeled.downstream.model import LoadedModel
from unlabeled.encoders import weights_digest
from unlabeled.errors import DataError
from unlabeled.evaluation.probe import LinearProbe
from unlabeled.images.encoder import ImageEncoder, Normalisation

CLASSES = ["cat", "dog", "owl"]
STAMP = {"model": "unlabeled-photos", "version": "3"}


def encoder_of(seed=0):
    torch.manual_seed(seed)
    return ImageEncoder("small_resnet", 3, 8, Normalisation((0.5,) * 3, (0.25,) * 3))


@pytest.fixture(scope="module")
def encoder():
    return encoder_of()


@pytest.fixture(scope="module")
def model(encoder):
    weight = np.random.default_rng(0).normal(size=(3, encoder.feature_dim)).astype(np.float32)
    probe = LinearProbe(weight, np.zeros(3, np.float32), np.arange(3), 1.0)
    return LoadedModel(encoder, probe, CLASSES, "unlabeled-photos", "3")


def pixels_of(number):
    return np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path):
    """Eleven images, in folders of any depth, an empty file, one that is no image, and one that is hidden."""
    folder = tmp_path / "photos"
    for number in range(11):
        path = folder / ("a" if number % 2 else "b/c") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels_of(number)).save(path)
    (folder / "a/empty.jpg").touch()
    (folder / "notes.bin").write_text("no image")
    (folder / ".hidden.png").write_bytes((folder / "a/01.png").read_bytes())
    return folder


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out" / "embeddings.parquet"


def test_there_is_a_row_for_each_file_in_the_order_of_their_names(model, photos, output):
    assert embed_folder(model, photos, output) == (11, 2)
    table = pq.read_table(output)
    files = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.*") if path.name[0] != ".")
    assert table["path"].to_pylist() == files
    assert table.column_names == ["path", "sha256", "embedding", "reason", "predicted", "probability"]


def test_embeddings_and_probabilities_are_the_models_own(model, photos, output):
    embed_folder(model, photos, output, chunk=4)
    for row in pq.read_table(output).to_pylist():
        if row["reason"] is None:
            image = np.asarray(Image.open(photos / row["path"])).transpose(2, 0, 1)[None]
            expected = model.encoder.embed(image)
            np.testing.assert_allclose(row["embedding"], expected[0], rtol=1e-4, atol=1e-5)
            probability = model.probe.probabilities(expected)[0]
            np.testing.assert_allclose(row["probability"], probability, rtol=1e-3, atol=1e-5)
            assert row["predicted"] == CLASSES[probability.argmax()] and len(row["sha256"]) == 64


def test_a_file_that_is_no_image_has_its_reason_and_nothing_else(model, photos, output):
    embed_folder(model, photos, output)
    bad = {row["path"]: row for row in pq.read_table(output).to_pylist() if row["reason"]}
    assert {path: row["reason"] for path, row in bad.items()} == {
        "a/empty.jpg": "empty file",
        "notes.bin": "not an image",
    }
    assert all(row[name] is None for row in bad.values() for name in ("embedding", "predicted", "probability"))


def test_the_file_says_what_it_is_of(model, photos, output):
    embed_folder(model, photos, output)
    said = {key.decode(): value.decode() for key, value in pq.read_schema(output).metadata.items()}
    assert STAMP.items() <= said.items() and said["folder"] == str(photos)
    assert said["weights"] == weights_digest(model.encoder) and json.loads(said["classes"]) == CLASSES


def test_without_a_probe_there_are_no_classes(encoder, photos, output):
    embed_folder(LoadedModel(encoder, name="m", version="1"), photos, output)
    assert pq.read_table(output).column_names == ["path", "sha256", "embedding", "reason"]


@pytest.mark.parametrize("chunk", [1, 4, 13, 14])
def test_the_size_of_a_part_changes_nothing(model, photos, output, chunk):
    embed_folder(model, photos, output)
    whole = pq.read_table(output)
    embed_folder(model, photos, output, chunk)
    table = pq.read_table(output)
    assert table.drop(["embedding", "probability"]).equals(whole.drop(["embedding", "probability"]))
    one, other = (np.stack(each["embedding"].drop_null().to_numpy()) for each in (table, whole))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_part_is_all_that_is_in_memory_of_the_result(model, photos, output):
    embed_folder(model, photos, output, chunk=4)
    header = pq.ParquetFile(output).metadata
    assert [header.row_group(group).num_rows for group in range(header.num_row_groups)] == [4, 4, 4, 1]


def test_torch_has_its_threads_back(model, photos, output):
    before = torch.get_num_threads()
    embed_folder(model, photos, output, chunk=2)
    assert torch.get_num_threads() == before


@pytest.mark.skipif(sys.platform != "linux", reason="file systems elsewhere refuse such names")
def test_a_name_that_is_no_utf_8_has_a_row_like_any_other(model, photos, output):
    (photos / "a/01.png").rename(photos / os.fsdecode(b"a/caf\xe9.png"))
    assert embed_folder(model, photos, output) == (11, 2)
    assert "a/caf\ufffd.png" in pq.read_table(output)["path"].to_pylist()


class StoppedError(Exception):
    """Stands for a kill."""


@pytest.fixture
def stopped(model, photos, output, monkeypatch):
    """A run that ended in its third part, of four images each; decoding goes on afterwards as ever."""
    whole, written = embed._write, []

    def write(path, *rest):
        if len(written) == 2:
            raise StoppedError
        written.append(path)
        whole(path, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(embed, "_write", write)
        with pytest.raises(StoppedError):
            embed_folder(model, photos, output, chunk=4)
    assert not output.exists()
    return written


def test_a_stopped_run_goes_on_after_its_last_part(model, photos, output, stopped, monkeypatch):
    decoded, original = [], embed.decode_batch
    monkeypatch.setattr(embed, "decode_batch", lambda items, *rest: decoded.extend(items) or original(items, *rest))
    assert embed_folder(model, photos, output, chunk=4) == (11, 2)
    table = pq.read_table(output)
    assert {item.path for item in decoded} == set(table["path"].to_pylist()[8:])
    embed_folder(model, photos, output.with_name("afresh.parquet"), chunk=4)
    assert table.equals(pq.read_table(output.with_name("afresh.parquet")))
    assert sorted(path.name for path in output.parent.iterdir()) == ["afresh.parquet", output.name]


def test_a_part_that_was_half_written_is_none(model, photos, output, stopped):
    (parts,) = output.parent.iterdir()
    (parts / ".000000008.1.partial.parquet").write_bytes(b"half")
    assert embed_folder(model, photos, output, chunk=4) == (11, 2)
    assert len(pq.read_table(output)) == 13


def test_parts_of_other_files_or_other_weights_are_not_gone_on_with(model, photos, output, stopped):
    Image.fromarray(pixels_of(99)).save(photos / "a/01.png")
    assert embed_folder(model, photos, output, chunk=4) == (11, 2)
    shutil.rmtree(output.parent)
    embed_folder(model, photos, output, chunk=4)
    changed = pq.read_table(output)
    other = replace(model, encoder=encoder_of(seed=1))
    embed_folder(other, photos, output, chunk=4)
    assert pq.read_schema(output).metadata[b"weights"] != changed.schema.metadata[b"weights"]


def test_an_older_file_stays_until_the_new_one_is_whole(model, photos, output, stopped):
    output.write_bytes(b"older")
    (photos / "a/01.png").touch()
    embed_folder(model, photos, output)
    assert pq.read_table(output).num_rows == 13


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_bytes(b""), "is a file, expected a folder of images"),
        (lambda path: path.mkdir(), "holds no images"),
    ],
)
def test_what_is_no_folder_of_files_is_refused(model, tmp_path, output, make, message):
    path = tmp_path / "elsewhere"
    make(path)
    with pytest.raises(DataError, match=f"^embed.path: {path} {message}$"):
        embed_folder(model, path, output)


def test_a_folder_without_any_image_is_all_reasons(model, tmp_path, output):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.bin").write_text("a")
    assert embed_folder(model, tmp_path / "texts", output) == (0, 1)
    assert pq.read_table(output)["reason"].to_pylist() == ["not an image"]


def test_images_of_many_bits_are_read_with_the_range_that_the_encoder_knows(tmp_path):
    (tmp_path / "scans").mkdir()
    numbers = np.random.default_rng(0).integers(0, 4096, (12, 8, 8), dtype=np.uint16)
    for number, scan in enumerate(numbers):
        Image.fromarray(scan).save(tmp_path / "scans" / f"{number:02}.png")
    with pytest.raises(DataError, match="9 of 9 images of more than 8 bits .* set ingestion.pixel_range"):
        embed_folder(LoadedModel(encoder_of()), tmp_path / "scans", tmp_path / "e.parquet")
    encoder = ImageEncoder("small_resnet", 3, 8, Normalisation((0.5,) * 3, (0.25,) * 3, (0, 4095)))
    assert embed_folder(LoadedModel(encoder), tmp_path / "scans", tmp_path / "e.parquet") == (12, 0)
    pixels = (numbers / 4095 * 255).round().astype(np.uint8)[:, None].repeat(3, 1)
    embedding = np.stack(pq.read_table(tmp_path / "e.parquet")["embedding"].to_numpy())
    np.testing.assert_allclose(embedding, encoder.embed(pixels), rtol=1e-4, atol=1e-5)
