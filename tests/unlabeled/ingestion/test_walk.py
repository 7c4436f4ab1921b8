import os
import socket
from pathlib import Path

import pytest

from unlabeled.errors import DataError
from unlabeled.ingestion.walk import CLIPS, IMAGES, TEXTS, find_files, read_file


def folder_of(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def names(root, kind=IMAGES):
    return find_files(root, "ingestion.path", kind).names


@pytest.mark.parametrize("folders", ["ab", "abc", "abcdef"])
def test_folders_that_link_to_each_other_are_read_once_by_their_own_names(tmp_path, folders):
    for each in folders:
        folder_of(tmp_path, f"{each}/1.png")
        for other in folders:
            if other != each:
                (tmp_path / each / f"a_{other}").symlink_to(f"../{other}")
    found = find_files(tmp_path, "ingestion.path")
    assert found.names == [f"{each}/1.png" for each in folders]
    count = len(folders) * (len(folders) - 1)
    assert found.left_out.counts == {"links to folders that are read already": count}


def test_links_out_of_the_root_are_followed_but_not_to_what_holds_it(tmp_path):
    folder_of(tmp_path / "elsewhere", "a.png")
    folder_of(tmp_path / "photos", "b.png")
    for name, target in {"out": "../elsewhere", "again": "../elsewhere", "up": "..", "top": "/"}.items():
        (tmp_path / "photos" / name).symlink_to(target)
    assert names(tmp_path / "photos") == ["again/a.png", "b.png"]


def test_what_is_no_regular_file_is_left_out_and_named(tmp_path, monkeypatch):
    folder_of(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "to_a_pipe.png").symlink_to("pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        found = find_files(tmp_path, "ingestion.path")
    assert found.names == ["a.png"]
    reason = "neither files nor folders"
    assert found.left_out.names == {reason: ["device.png", "pipe.png", "socket.png", "to_a_pipe.png"]}
    with pytest.raises(OSError, match="neither a file"):
        read_file(tmp_path / "pipe.png")


JUNK = """
.DS_Store ._a.png Thumbs.db Desktop.ini __MACOSX/a.png @eaDir/a.png .ipynb_checkpoints/a.png $RECYCLE.BIN/a.png
lost+found/a.png ~$a.png photos.dvc .git/a.png .gitignore a.png~ .Trash-1000/a.png"""


@pytest.mark.parametrize("name", [*JUNK.split(), "Icon\r"])
def test_what_systems_and_tools_leave_is_no_data_of_any_kind(tmp_path, name):
    folder_of(tmp_path, f"cat/{name}", f"System Volume Information/{name}")
    for kind in (IMAGES, TEXTS, CLIPS):
        found = find_files(tmp_path, "ingestion.path", kind)
        assert found.names == [] and found.left_out.counts == {"left by systems and tools": 2}


def test_unfinished_downloads_and_hidden_files_are_left_out(tmp_path):
    folder_of(tmp_path, "a.png", "b.png.part", "c.jpg.crdownload", ".d.png", ".e/f.png")
    found = find_files(tmp_path, "ingestion.path")
    assert found.names == ["a.png"]
    assert found.left_out.names == {
        "hidden": [".d.png", ".e/"],
        "unfinished downloads": ["b.png.part", "c.jpg.crdownload"],
    }


def test_files_of_another_kind_are_left_out_by_their_names_and_unknown_ones_are_not(tmp_path):
    files = ["a.JPG", "a.xml", "b.pdf", "c.mp4", "d.wav", "e.npy", "f.unknown", "g", "LICENSE", "Readme", "readme.png"]
    folder_of(tmp_path, *files)
    assert names(tmp_path) == ["a.JPG", "f.unknown", "g", "readme.png"]
    assert names(tmp_path, CLIPS) == ["a.JPG", "c.mp4", "d.wav", "f.unknown", "g", "readme.png"]
    assert names(tmp_path, TEXTS) == ["a.xml", "f.unknown", "g"]


def test_notes_among_texts_are_notes_at_the_top_alone(tmp_path):
    folder_of(tmp_path, "README.md", "one/README.md", "two/README")
    assert names(tmp_path, TEXTS) == ["one/README.md", "two/README"]


def test_metadata_are_no_images_and_not_left_out(tmp_path):
    folder_of(tmp_path, "a.png", "metadata.csv", "train/metadata.jsonl", "labels.csv")
    found = find_files(tmp_path, "ingestion.path")
    assert found.metadata == ["metadata.csv", "train/metadata.jsonl"] and found.others == ["labels.csv"]
    assert found.left_out.summary() == {"not images by their names": {"count": 1, "names": ["labels.csv"]}}


def test_a_few_names_of_each_reason_are_told(tmp_path):
    folder_of(tmp_path, "a.png", *(f"{i}.xml" for i in range(1000)))
    left_out = find_files(tmp_path, "ingestion.path").left_out
    assert str(left_out) == "left out: 1,000 not images by their names (0.xml, 1.xml, 10.xml, 100.xml, 101.xml, …)"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_refused(tmp_path):
    folder_of(tmp_path, "closed/a.png")
    (tmp_path / "closed").chmod(0)
    with pytest.raises(DataError, match="closed cannot be read"):
        names(tmp_path)


def test_no_file_is_looked_up_by_itself(tmp_path, monkeypatch):
    folder_of(tmp_path, *(f"cat/{i}.png" for i in range(100)))
    looked_up, stat = [], os.stat
    monkeypatch.setattr(os, "stat", lambda *what, **how: looked_up.append(what) or stat(*what, **how))
    assert len(names(tmp_path)) == 100 and len(looked_up) < 50


def test_of_a_file_a_limited_number_of_bytes_is_read_and_of_a_device_none(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_file(tmp_path / "a", 5) == b"12345"
    with pytest.raises(OSError, match="^too large: 0 MB"):
        read_file(tmp_path / "a", 4)
    for name in ("/dev/zero", tmp_path):
        with pytest.raises(OSError, match="neither a file nor a link to one"):
            read_file(Path(name))
    assert read_file(Path("/proc/self/environ")) == b""
