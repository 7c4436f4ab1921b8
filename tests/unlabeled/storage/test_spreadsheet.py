import csv

import pandas as pd
import pytest

from unlabeled.storage.spreadsheet import read_csv, write_csv

FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-1.png", "@home/x.png", "'=1", "''@a", "＝1", "-", "=1,2"]
HARMLESS = ["a.png", "'tis", "-1", "+1.5e3", "-.5", "1-2", "a=b", "-1e", ""]


def cells_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_begins_as_a_formula(tmp_path, text):
    write_csv(pd.DataFrame({"path": [text], "n": [1]}), tmp_path / "a.csv")
    assert cells_of(tmp_path / "a.csv") == [[f"'{text}", "1"]]


@pytest.mark.parametrize("text", HARMLESS[:-2])
def test_other_texts_are_written_as_they_are(tmp_path, text):
    write_csv(pd.DataFrame({"path": [text], "n": [1]}), tmp_path / "a.csv")
    assert cells_of(tmp_path / "a.csv") == [[text, "1"]]


def test_what_is_read_is_what_was_written(tmp_path):
    frame = pd.DataFrame({"path": [*FORMULAS, *HARMLESS[:-1]], "reason": None, "drop": -0.5})
    write_csv(frame, tmp_path / "a.csv")
    assert list(read_csv(tmp_path / "a.csv").path) == list(frame.path)


def test_numbers_stay_numbers(tmp_path):
    frame = pd.DataFrame({"drop": [-1.5, None], "count": [-3, 4]})
    write_csv(frame, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "drop,count\n-1.5,-3\n,4\n"
    pd.testing.assert_frame_equal(read_csv(tmp_path / "a.csv"), frame)


def test_control_characters_are_shown(tmp_path):
    write_csv(pd.DataFrame({"path": ["\t=1", "\r=1", "\x1b[2J\nb.png"]}), tmp_path / "a.csv")
    assert cells_of(tmp_path / "a.csv") == [[r"\t=1"], [r"\r=1"], [r"\x1b[2J\nb.png"]]
