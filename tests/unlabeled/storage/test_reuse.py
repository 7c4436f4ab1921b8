import os
import time

import numpy as np
import pandas as pd
import pytest

from unlabeled.storage.freshness import MADE_BY
from unlabeled.storage.reuse import SETTLED_NANOSECONDS, EarlierRows, Stamps, checksum, earlier_rows

ROWS = np.random.default_rng(0).integers(0, 256, (4, 3, 5), np.uint8)
CONTENTS = ["a", "b", "c", "d"]


def index_of(rows, how="so"):
    index = pd.DataFrame({"sha256": CONTENTS, "checksum": [checksum(row) for row in rows], "width": [1, 2, 3, 4]})
    index.attrs[MADE_BY] = how
    return index


def test_a_row_is_taken_by_its_content_and_what_is_known_of_it_too():
    earlier, into = EarlierRows(ROWS, index_of(ROWS)), np.zeros((3, 5), np.uint8)
    assert earlier.take("c", into) and np.array_equal(into, ROWS[2]) and earlier.about("c", "width") == 3
    assert not earlier.take("e", into) and not earlier.damaged


def test_damage_is_found_wherever_it_is_looked_for():
    damaged = ROWS.copy()
    damaged[1, 2, 4] ^= 1
    earlier = EarlierRows(damaged, index_of(ROWS))
    assert earlier.intact(["a", "b", "e"]) == {"a": checksum(ROWS[0])} and earlier.damaged == {"b"}
    assert not earlier.take("b", np.empty((3, 5), np.uint8)) and earlier.damaged == {"b"}


def test_rows_that_an_index_has_and_an_array_has_not_are_damaged():
    earlier = EarlierRows(ROWS[:3], index_of(ROWS))
    assert not earlier.take("d", np.empty((3, 5), np.uint8)) and earlier.damaged == {"d"}


def test_intact_rows_are_those_of_all_however_many_there_are():
    rows = np.arange(1000, dtype=np.uint16).view(np.uint8).reshape(1000, 2)
    contents = [str(number) for number in range(1000)]
    index = pd.DataFrame({"sha256": contents, "checksum": [checksum(row) for row in rows]})
    assert EarlierRows(rows, index).intact(contents) == dict(zip(contents, index.checksum, strict=True))


@pytest.mark.parametrize("how, shape, fits", [("so", (3, 5), True), ("else", (3, 5), False), ("so", (3, 6), False)])
def test_only_rows_made_in_the_same_way_are_earlier_rows(how, shape, fits):
    assert (earlier_rows(lambda: (ROWS, index_of(ROWS)), how, shape) is not None) == fits


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "gone"), EOFError("empty"), ValueError("torn"), KeyError("place")]
)
def test_what_cannot_be_read_is_no_earlier_row(error):
    def read():
        raise error

    assert earlier_rows(read, "so", (3, 5)) is None


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Three files whose last change is long enough ago, as the clock has it."""
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text(f"what is in {path.name}")
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 2 * SETTLED_NANOSECONDS)
    return paths


def read_anew(files, kept):
    """The names of the files that were read, and their contents' sha256."""
    read, stamps = [], Stamps(kept)
    digests = [stamps.content_of(file, lambda path: read.append(path.name) or path.read_bytes())[1] for file in files]
    stamps.keep()
    return "".join(read), digests


def test_a_file_that_nobody_has_touched_is_not_read_again(files, tmp_path):
    read, digests = read_anew(files, tmp_path / "stamps.parquet")
    assert read == "abc" and len(set(digests)) == 3
    assert read_anew(files, tmp_path / "stamps.parquet") == ("", digests)


def test_a_file_of_another_content_is_read_even_if_its_size_and_time_are_the_old_ones(files, tmp_path):
    _, before = read_anew(files, tmp_path / "stamps.parquet")
    stat = files[1].stat()
    files[1].write_text("WHAT IS IN B")
    os.utime(files[1], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    read, after = read_anew(files, tmp_path / "stamps.parquet")
    assert read == "b" and [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]


def test_where_there_are_no_files_no_stamps_are_left(files, tmp_path):
    read_anew(files, tmp_path / "stamps.parquet")
    read_anew([], tmp_path / "stamps.parquet")
    assert not (tmp_path / "stamps.parquet").exists()


def test_a_file_in_anothers_place_is_read(files, tmp_path):
    _, before = read_anew(files, tmp_path / "stamps.parquet")
    files[0].replace(files[1])
    read, after = read_anew(files[1:], tmp_path / "stamps.parquet")
    assert read == "b" and after == [before[0], before[2]]


def test_a_file_that_has_just_been_written_is_read_the_next_time_too(files, tmp_path, monkeypatch):
    monkeypatch.undo()
    kept = tmp_path / "stamps.parquet"
    assert read_anew(files, kept) == read_anew(files, kept)


@pytest.mark.parametrize("content", [b"", b"torn", None])
def test_without_stamps_that_can_be_read_every_file_is(files, tmp_path, content):
    kept = tmp_path / "stamps.parquet"
    read_anew(files, kept)
    if content is None:
        kept.unlink()
    else:
        kept.write_bytes(content)
    assert read_anew(files, kept)[0] == "abc"
