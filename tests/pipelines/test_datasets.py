import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from pipelines.datasets import ArrayDataset, CsvDataset, FolderDataset, JsonDataset, ParquetDataset, ProbeDataset
from unlabeled.arrays import open_array
from unlabeled.probe import LinearProbe

FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
KINDS = {JsonDataset: {"a": [1, None]}, ParquetDataset: FRAME, CsvDataset: FRAME}


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


def test_a_probe_or_none(tmp_path):
    dataset = ProbeDataset(str(tmp_path / "probe.safetensors"))
    dataset.save([])
    assert dataset.load() == []
    weight = np.ones((2, 3), np.float32)
    dataset.save(LinearProbe(weight, weight[:, 0], np.array([0, 4]), 0.1))
    assert dataset.load().classes.tolist() == [0, 4] and dataset.load().regularisation == 0.1


def test_a_folder_is_there_to_work_in(tmp_path):
    dataset = FolderDataset(str(tmp_path / "a/b"))
    assert dataset.load().is_dir()
