import base64
import re
from io import BytesIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from unlabeled.downstream import search
from unlabeled.downstream.search import Origin, embed_file, nearest_files, origin, similar_page
from unlabeled.encoders import read_encoder
from unlabeled.errors import DataError
from unlabeled.images.encoder import ImageEncoder, Normalisation
from unlabeled.images.pixels import PixelFormat

SAID = {"model": "unlabeled-digits", "version": "2", "weights": "abc", "folder": "/photos"}
FORMAT = PixelFormat(16, 1)


def written(path, features, metadata=SAID):
    """A file of embeddings, named in their order; None: no image."""
    fields = {"path": pa.string(), "embedding": pa.list_(pa.float32())}
    paths = [f"{number}.png" for number in range(len(features))]
    table = pa.table({"path": paths, "embedding": features}, pa.schema(fields, metadata))
    pq.write_table(table, path, row_group_size=7)
    return path


@pytest.fixture
def features():
    return np.random.default_rng(0).standard_normal((50, 8), np.float32)


@pytest.mark.parametrize("rows", [3, 4096])
def test_the_nearest_are_those_of_a_plain_computation(tmp_path, features, monkeypatch, rows):
    monkeypatch.setattr(search, "ROWS_IN_MEMORY", rows)
    path = written(tmp_path / "e.parquet", list(features))
    query = features[7] + 0.1
    found = nearest_files(path, query, 5)
    cosine = features @ query / np.linalg.norm(features, axis=1) / np.linalg.norm(query)
    order = np.argsort(-cosine)[:5]
    assert found.path.tolist() == [f"{row}.png" for row in order]
    np.testing.assert_allclose(found.similarity, cosine[order], rtol=1e-5)


def test_the_image_itself_is_left_out(tmp_path, features):
    path = written(tmp_path / "e.parquet", list(features))
    assert nearest_files(path, features[3], 1).path.tolist() == ["3.png"]
    assert "3.png" not in nearest_files(path, features[3], 49, but="3.png").path.tolist()


def test_fewer_images_than_asked_for_are_all_of_them(tmp_path, features):
    assert len(nearest_files(written(tmp_path / "e.parquet", list(features)), features[0], 100)) == 50


def test_rows_without_an_embedding_are_passed_over(tmp_path, features):
    rows = [None if number % 2 else row for number, row in enumerate(features)]
    found = nearest_files(written(tmp_path / "e.parquet", rows), features[0], 50)
    assert len(found) == 25 and found.path[0] == "0.png"


def test_a_vector_of_zeros_is_like_nothing(tmp_path):
    found = nearest_files(written(tmp_path / "e.parquet", [[0.0, 0.0], [1.0, 1.0]]), np.ones(2, np.float32), 2)
    assert found.similarity.round(6).tolist() == [1, 0]


def test_nothing_to_compare_with_is_said(tmp_path, features):
    path = written(tmp_path / "e.parquet", [features[0]])
    with pytest.raises(DataError, match="has no image to compare with"):
        nearest_files(path, features[0], 5, but="0.png")


def test_a_file_says_what_it_is_of(tmp_path, features):
    assert origin(written(tmp_path / "e.parquet", list(features))) == Origin(50, **SAID)


def test_what_is_no_file_of_embeddings_is_refused(tmp_path, features):
    with pytest.raises(DataError, match="is missing: run kedro run --pipeline=embed"):
        origin(tmp_path / "e.parquet")
    (tmp_path / "text.parquet").write_text("text")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    for path in (tmp_path / "text.parquet", tmp_path / "other.parquet", written(tmp_path / "no", list(features), {})):
        with pytest.raises(DataError, match="is no file of embeddings"):
            origin(path)


def test_a_query_is_embedded_as_the_folder_was(tmp_path):
    encoder = ImageEncoder("small_resnet", 1, 8, Normalisation((0.5,), (0.25,)))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "q.png")
    np.testing.assert_array_equal(embed_file(encoder, tmp_path / "q.png"), encoder.embed(pixels[None, None])[0])
    (tmp_path / "q.txt").write_text("text")
    for name, reason in {"q.txt": "not an image", "none.png": "No such file"}.items():
        with pytest.raises(DataError, match=f"^search.image: .*{name} cannot be used .*{reason}"):
            embed_file(encoder, tmp_path / name)


def test_a_query_of_many_bits_is_read_with_the_range_that_the_encoder_knows(tmp_path):
    numbers = np.random.default_rng(0).integers(0, 4096, (8, 8), dtype=np.uint16)
    Image.fromarray(numbers).save(tmp_path / "q.png")
    with pytest.raises(DataError, match="uses less than a quarter of the range that its format states"):
        embed_file(ImageEncoder("small_resnet", 1, 8, Normalisation((0.5,), (0.25,))), tmp_path / "q.png")
    ImageEncoder("small_resnet", 1, 8, Normalisation((0.5,), (0.25,), (0, 4095))).save(tmp_path / "encoder.safetensors")
    encoder = read_encoder(tmp_path / "encoder.safetensors")
    pixels = (numbers / 4095 * 255).round().astype(np.uint8)
    np.testing.assert_allclose(embed_file(encoder, tmp_path / "q.png"), encoder.embed(pixels[None, None])[0], rtol=1e-6)


def test_the_page_shows_the_query_and_its_neighbours(tmp_path, read_page):
    names = ["q.png", "<a>.png", "b.png"]
    for name in names[:2]:
        Image.new("RGB", (40, 30), "red").save(tmp_path / name)
    found = pd.DataFrame({"path": names[1:], "similarity": [0.91234, 0.5]})
    page = read_page(
        similar_page(tmp_path / "q.png", found, Origin(1234, "unlabeled-digits", "2", "abc", str(tmp_path)), FORMAT)
    )
    assert len(page.all("img")) == 3 and page.all("img", alt="<a>.png")
    assert "Most like q.png is <a>.png, with a cosine similarity of 0.912." in page.text
    assert "0.500 b.png (cannot be read any more)" in page.text and "1,234" in page.text


@pytest.mark.parametrize("width, height, kind", [(8, 8, "png"), (8, 400, "png"), (400, 300, "webp")])
def test_a_tiny_image_is_shown_with_its_own_pixels(tmp_path, width, height, kind):
    Image.new("RGB", (width, height), "red").save(tmp_path / "q.png")
    found = pd.DataFrame({"path": ["q.png"], "similarity": [1.0]})
    page = similar_page(tmp_path / "q.png", found, Origin(1, "m", "1", "abc", str(tmp_path)), FORMAT)
    assert page.count(f'src="data:image/{kind}') == 2


@pytest.mark.parametrize(
    "resize, sentence, red", [("crop", "The middle square", 0), ("pad", "shown whole", 1), ("squash", "stretched", 1)]
)
def test_the_page_shows_of_an_image_what_the_encoder_sees(tmp_path, read_page, resize, sentence, red):
    image = Image.new("RGB", (90, 30), "blue")
    image.paste("red", (0, 0, 15, 30))
    image.save(tmp_path / "q.png")
    found = pd.DataFrame({"path": ["q.png"], "similarity": [1.0]})
    page = similar_page(
        tmp_path / "q.png", found, Origin(1, "m", "1", "abc", str(tmp_path)), FORMAT._replace(resize=resize)
    )
    assert sentence in read_page(page).text
    content = base64.b64decode(re.search(r"data:image/\w+;base64,([^\"]+)", page)[1])
    pixels = np.asarray(Image.open(BytesIO(content)).convert("RGB")).astype(int)
    assert (pixels[..., 0] - pixels[..., 2] > 100).any() == red
