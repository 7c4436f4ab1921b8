import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError
from kedro_viz.models.flowchart.node_metadata import DataNodeMetadata
from kedro_viz.models.flowchart.nodes import GraphNode
from matplotlib.figure import Figure
from PIL import Image

from pipelines.datasets.files import (
    ArrayDataset,
    CsvDataset,
    FigureDataset,
    FolderDataset,
    JsonDataset,
    ParquetDataset,
    PicturesDataset,
    TextDataset,
)
from pipelines.datasets.probe import ProbeDataset
from unlabeled.evaluation.probe import LinearProbe
from unlabeled.storage.arrays import open_array

FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
KINDS = {JsonDataset: {"a": [1, None]}, ParquetDataset: FRAME, CsvDataset: FRAME, TextDataset: "±\n\u00a0π"}


@pytest.mark.parametrize("kind, data", KINDS.items())
def test_what_is_saved_is_loaded(tmp_path, kind, data):
    dataset = kind(str(tmp_path / "deep/file"))
    dataset.save(data)
    loaded = dataset.load()
    pd.testing.assert_frame_equal(loaded, data) if data is FRAME else None
    assert data is FRAME or loaded == data
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_file_says_what_to_do(tmp_path, kind):
    with pytest.raises(DatasetError, match="is missing: run the stages before this one"):
        kind(str(tmp_path / "file")).load()


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    dataset = JsonDataset(str(tmp_path / "file.json"))
    dataset.save({"a": 1})
    with pytest.raises(Exception, match="not JSON serializable"):
        dataset.save({"a": object()})
    assert dataset.load() == {"a": 1} and len(list(tmp_path.iterdir())) == 1


def test_arrays_are_mapped_and_their_own_file_is_left_as_it_is(tmp_path):
    dataset = ArrayDataset(str(tmp_path / "a.npy"))
    dataset.save(np.arange(6).reshape(3, 2))
    before = (tmp_path / "a.npy").stat().st_mtime_ns
    mapped = dataset.load()
    assert isinstance(mapped, np.memmap)
    dataset.save(open_array(tmp_path / "a.npy"))
    assert (tmp_path / "a.npy").stat().st_mtime_ns == before
    np.testing.assert_array_equal(dataset.load(), np.arange(6).reshape(3, 2))


@pytest.mark.parametrize("names", [["image", "what it sees"], []])
def test_pictures_keep_their_names_and_their_order(tmp_path, names):
    dataset = PicturesDataset(str(tmp_path / "examples.npz"))
    pictures = {name: np.full((2, 1, 3, 3), i, np.uint8) for i, name in enumerate(names)}
    dataset.save(pictures)
    loaded = dataset.load()
    assert list(loaded) == names and all(np.array_equal(loaded[name], pictures[name]) for name in names)
    assert [path.name for path in tmp_path.iterdir()] == ["examples.npz"]


def shown(dataset):
    """What `kedro viz` shows of a dataset, and as what."""
    node = GraphNode.create_data_node("1", "data", None, set(), dataset, set())
    response = json.loads(DataNodeMetadata(data_node=node).model_dump_json())
    return response["preview"], response["preview_type"]


def test_kedro_viz_shows_json(tmp_path):
    dataset = JsonDataset(str(tmp_path / "shown.json"))
    dataset.save({"few_label": {"1": 0.5}, "knn_accuracy": None})
    preview, kind = shown(dataset)
    assert kind == "JSONPreview" and json.loads(preview) == dataset.load()


def test_kedro_viz_shows_the_first_rows_of_a_table_and_what_is_missing_in_it(tmp_path):
    dataset = CsvDataset(str(tmp_path / "history.csv"))
    dataset.save(pd.DataFrame({"epoch": range(99), "rankme": [None, *range(98)]}))
    preview, kind = shown(dataset)
    assert kind == "TablePreview" and preview["columns"] == ["epoch", "rankme"]
    assert len(preview["data"]) == 50 and preview["data"][:2] == [[0, None], [1, 0.0]]


def test_kedro_viz_shows_a_figure(tmp_path):
    dataset, figure = FigureDataset(str(tmp_path / "board.png")), Figure(figsize=(2, 1), dpi=100)
    dataset.save(figure)
    preview, kind = shown(dataset)
    assert kind == "ImagePreview"
    with Image.open(io.BytesIO(base64.b64decode(preview))) as picture:
        assert picture.size == (200, 100)


def test_a_probe_or_none(tmp_path):
    dataset = ProbeDataset(str(tmp_path / "probe.safetensors"))
    dataset.save([])
    assert dataset.load() is None
    weight = np.ones((2, 3), np.float32)
    dataset.save(LinearProbe(weight, weight[:, 0], np.array([0, 4]), 0.1))
    assert dataset.load().classes.tolist() == [0, 4] and dataset.load().regularisation == 0.1


def test_a_folder_is_there_to_work_in(tmp_path):
    dataset = FolderDataset(str(tmp_path / "a/b"))
    assert dataset.load().is_dir()
