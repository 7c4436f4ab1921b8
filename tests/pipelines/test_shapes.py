import json

import pandas as pd
import pytest
from kedro.io import DatasetError

from pipelines.datasets.files import JsonDataset, ParquetDataset, read_json
from pipelines.shapes import COLUMNS, RECORDS, check_shape
from unlabeled.errors import DataError


@pytest.mark.parametrize("held", [[], {}, "text", None, 3])
@pytest.mark.parametrize("name", RECORDS)
def test_json_of_another_shape_is_named_with_what_to_do(tmp_path, name, held):
    (tmp_path / name).write_text(json.dumps(held))
    with pytest.raises(DataError, match=f"/{name} is none that this project writes .*: run the stage that writes it"):
        read_json(tmp_path / name)
    with pytest.raises(DatasetError, match="run the stage that writes it again"):
        JsonDataset(str(tmp_path / name)).load()


@pytest.mark.parametrize("name", COLUMNS)
def test_a_table_of_other_columns_is_named_with_those_it_lacks(tmp_path, name):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / name)
    with pytest.raises(DatasetError, match=f"{name} is none that this project writes .it lacks the columns .*sha256"):
        ParquetDataset(str(tmp_path / name)).load()


@pytest.mark.parametrize(
    "changed, problem",
    [
        ({"champion": "yes"}, "champion: received 'yes', expected a valid boolean"),
        ({"version": 1}, "version: received 1, expected a valid string"),
    ],
)
def test_a_value_of_another_type_is_named(tmp_path, changed, problem):
    version = {"name": "a", "version": "1", "champion": True, "verdict": "", "reason": "", "selection": "", "drift": {}}
    check_shape(tmp_path / "version.json", version)
    with pytest.raises(DataError, match=problem):
        check_shape(tmp_path / "version.json", version | changed)


def test_deep_json_is_damage(tmp_path):
    (tmp_path / "metrics.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="metrics.json is damaged"):
        read_json(tmp_path / "metrics.json")


def test_other_files_hold_what_they_like(tmp_path):
    check_shape(tmp_path / "crops.json", [])
