import errno
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from unlabeled.storage import arrays
from unlabeled.storage.arrays import ArrayWriter, Rows, open_array, replace_file

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from unlabeled.storage.arrays import ArrayWriter, replace_file

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
path = Path(sys.argv[1])
try:
    if path.suffix == ".npy":
        with ArrayWriter(path, (64,)) as writer:
            for _ in range(int(sys.argv[2])):
                writer.append(np.ones((1, 64)))
    else:
        replace_file(path, lambda partial: partial.write_bytes(bytes(64 * int(sys.argv[2]))))
except OSError as error:
    sys.exit(error.strerror)
"""
"""Writes 64 bytes so many times where a file can have 4096; stands for a disk that is full after as many."""

READ_ONLY = """
import os, sys
from pathlib import Path
import numpy as np
from unlabeled.storage.arrays import ArrayWriter, replace_file

os.chdir(sys.argv[1])
if os.geteuid() == 0:  # root writes where it likes
    os.setuid(65534)
path = Path("a.npy")
for write in (lambda: ArrayWriter(path, (3,)).__enter__(), lambda: replace_file(path, lambda p: p.write_text("new"))):
    try:
        write()
    except OSError as error:
        print(error.strerror)
"""


def write(path, *chunks, row_shape=(3,), dtype=np.uint8):
    with ArrayWriter(path, row_shape, dtype) as writer:
        for chunk in chunks:
            writer.append(chunk)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
@pytest.mark.parametrize("row_shape", [(), (5,), (3, 4, 4)])
def test_an_array_comes_back_as_it_was_written(tmp_path, dtype, row_shape):
    rows = np.random.default_rng(0).integers(0, 256, (7, *row_shape)).astype(dtype)
    write(tmp_path / "a.npy", rows, row_shape=row_shape, dtype=dtype)
    array = open_array(tmp_path / "a.npy")
    np.testing.assert_array_equal(array, rows)
    assert array.dtype == dtype and array.shape == rows.shape


@pytest.mark.parametrize("sizes", [[10], [1] * 10, [3, 0, 7], [0, 10, 0]])
def test_it_does_not_show_in_what_chunks_an_array_was_written(tmp_path, sizes):
    rows = np.arange(30, dtype=np.uint8).reshape(10, 3)
    write(tmp_path / "a.npy", *np.split(rows, np.cumsum(sizes)[:-1]))
    np.save(tmp_path / "b.npy", rows)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_without_a_row_the_array_is_empty(tmp_path):
    write(tmp_path / "a.npy", row_shape=(3, 2))
    assert open_array(tmp_path / "a.npy").shape == (0, 3, 2)


def test_rows_of_other_types_and_strides_are_written_as_asked(tmp_path):
    rows = np.arange(24).reshape(3, 8)
    write(tmp_path / "a.npy", rows.T, rows[:, ::-4].T[:, ::-1])
    np.testing.assert_array_equal(open_array(tmp_path / "a.npy")[:8], rows.T)
    np.testing.assert_array_equal(open_array(tmp_path / "a.npy")[8:], [[23, 15, 7], [19, 11, 3]])


def test_an_open_array_is_a_map_that_cannot_be_written_to(tmp_path):
    write(tmp_path / "a.npy", np.ones((2, 3)))
    array = open_array(tmp_path / "a.npy")
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 2


def test_folders_are_made(tmp_path):
    write(tmp_path / "new" / "folder" / "a.npy", np.ones((2, 3)))
    replace_file(tmp_path / "another" / "one" / "b.txt", lambda partial: partial.write_text("b"))
    assert names(tmp_path / "new" / "folder") == ["a.npy"] and names(tmp_path / "another" / "one") == ["b.txt"]


def test_a_file_takes_its_name_when_it_is_complete(tmp_path):
    with ArrayWriter(tmp_path / "a.npy", (3,)) as writer:
        writer.append(np.ones((2, 3)))
        assert "a.npy" not in names(tmp_path)
    assert names(tmp_path) == ["a.npy"]


def test_after_an_error_the_old_array_is_there_and_nothing_else(tmp_path):
    write(tmp_path / "a.npy", np.ones((2, 3)))
    with pytest.raises(RuntimeError), ArrayWriter(tmp_path / "a.npy", (3,)) as writer:
        writer.append(np.zeros((5, 3)))
        raise RuntimeError
    assert names(tmp_path) == ["a.npy"]
    np.testing.assert_array_equal(open_array(tmp_path / "a.npy"), np.ones((2, 3)))


def test_who_reads_the_old_array_goes_on_reading_it(tmp_path):
    write(tmp_path / "a.npy", np.ones((2, 3)))
    old = open_array(tmp_path / "a.npy")
    write(tmp_path / "a.npy", np.zeros((4, 3)))
    assert (old == 1).all() and len(open_array(tmp_path / "a.npy")) == 4


def test_two_processes_writing_the_same_array_leave_one_of_the_two_whole(tmp_path):
    script = "import sys, numpy as np; from pathlib import Path; from unlabeled.storage.arrays import ArrayWriter\n"
    script += "with ArrayWriter(Path(sys.argv[1]), (99,)) as w:\n"
    script += "    for _ in range(500): w.append(np.full((9, 99), int(sys.argv[2]))); w._file.flush()"
    writers = [subprocess.Popen([sys.executable, "-c", script, tmp_path / "a.npy", str(value)]) for value in (1, 2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    array = open_array(tmp_path / "a.npy")
    assert array.shape == (4500, 99) and len(np.unique(array)) == 1 and names(tmp_path) == ["a.npy"]


@pytest.mark.parametrize("rows", [np.ones((2, 4)), np.ones(3), np.ones((2, 3, 1))])
def test_rows_of_another_shape_are_refused(tmp_path, rows):
    with pytest.raises(ValueError, match=r"do not fit an array of \(3,\)"):
        write(tmp_path / "a.npy", rows)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a.npy", "a.bin"])
@pytest.mark.parametrize("rows", [65, 5000])  # that do not fit when they are flushed at the end, or long before
def test_a_full_disk_is_named_and_leaves_the_old_file_alone(tmp_path, name, rows):
    (tmp_path / name).write_bytes(b"old")
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, tmp_path / name, str(rows)], capture_output=True, text=True
    )
    assert result.returncode == 1 and result.stderr == "File too large\n"
    assert names(tmp_path) == [name] and (tmp_path / name).read_bytes() == b"old"


def test_what_goes_wrong_while_the_disk_works_beside_us_is_told_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "FLUSH_EVERY", 1)
    write(tmp_path / "a.npy", np.zeros((1, 3)))
    outcomes = iter([OSError(errno.EIO, os.strerror(errno.EIO))])

    def fsync(file, whole=os.fsync):
        for error in outcomes:  # the system tells it once
            raise error
        whole(file)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.EIO))):
        write(tmp_path / "a.npy", np.ones((5, 3)))
    assert names(tmp_path) == ["a.npy"] and not open_array(tmp_path / "a.npy").any()


def test_what_fits_on_the_disk_is_written(tmp_path):
    subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path / "a.npy", "62"], check=True)
    assert open_array(tmp_path / "a.npy").shape == (62, 64)


@pytest.mark.parametrize("write_to", [write, lambda path: replace_file(path, lambda partial: partial.write_text(""))])
def test_a_folder_that_cannot_be_is_an_os_error_that_names_it(tmp_path, write_to):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        write_to(tmp_path / "file" / "a.npy")
    assert names(tmp_path) == ["file"]


def test_a_read_only_folder_is_named_and_left_as_it_is(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"old")
    tmp_path.chmod(0o555)
    result = subprocess.run([sys.executable, "-c", READ_ONLY, tmp_path], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["Permission denied"] * 2
    assert names(tmp_path) == ["a.npy"] and (tmp_path / "a.npy").read_bytes() == b"old"


@pytest.mark.parametrize("name", ["a.csv", "a.png", "a.parquet"])
def test_a_partial_file_lies_beside_the_file_and_ends_alike(tmp_path, name):
    seen = []
    replace_file(tmp_path / name, lambda partial: (seen.append(partial), partial.write_text("new")))
    assert seen[0].parent == tmp_path and seen[0].suffix == f".{name[2:]}"
    assert names(tmp_path) == [name] and (tmp_path / name).read_text() == "new"


def test_a_file_is_replaced_at_once_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half(partial):
        partial.write_text("ne")
        assert path.read_text() == "old"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        replace_file(path, write_half)
    assert names(tmp_path) == ["a.txt"] and path.read_text() == "old"


@pytest.mark.parametrize("cuts", [[], [3], [1, 1, 7]])
def test_rows_of_several_arrays_read_like_one(cuts):
    generator = np.random.default_rng(0)
    array, places = generator.integers(0, 256, (10, 4, 2), np.uint8), generator.permutation(10)[:8]
    rows, expected = Rows(np.split(array, cuts), places), array[places]
    assert (rows.shape, rows.dtype, rows.ndim, rows.nbytes, len(rows)) == ((8, 4, 2), np.uint8, 3, 64, 8)
    chosen, others = np.array([5, 0, 5, 7]), np.array([0, 3, 2, 1])
    for key in (np.s_[:], np.s_[2:5], np.s_[3], np.s_[-1], np.s_[6, :2], chosen, (chosen, others), [1, 2]):
        np.testing.assert_array_equal(rows[key], expected[key])
    assert rows[chosen[:0]].shape == (0, 4, 2)
