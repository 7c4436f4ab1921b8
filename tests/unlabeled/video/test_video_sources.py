import pytest

from unlabeled.errors import DataError
from unlabeled.video.config import VideoIngestion
from unlabeled.video.sources import clip_names, open_source


def files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def items(root):
    source = open_source(VideoIngestion(source="video", path=str(root)), root)
    found = [(item.path, item.label, item.split) for item in source.items]
    assert len(found) == source.total
    return found


def refusal(root):
    with pytest.raises(DataError) as refused:
        items(root)
    return str(refused.value)


def test_films_of_any_nesting_and_ending(tmp_path):
    files(tmp_path, "a.MP4", "cat/b.webm", "cat/x/y/c.mkv", "dog/d.mov", "README.md", ".e.mp4")
    assert items(tmp_path) == [
        ("a.MP4", None, None),
        ("cat/b.webm", "cat", None),
        ("cat/x/y/c.mkv", "cat", None),
        ("dog/d.mov", "dog", None),
    ]


def test_a_folder_of_frames_and_a_wav_is_a_clip(tmp_path):
    files(tmp_path, "cat/1/00.png", "cat/1/01.png", "cat/1/sound.wav", "cat/2.mp4", "silent/00.jpg", "alone/a.wav")
    names = [("alone", None, None), ("cat/1", "cat", None), ("cat/2.mp4", "cat", None), ("silent", None, None)]
    assert items(tmp_path) == names


def test_images_beside_films_are_no_clip():
    beside = ["cat/a.jpg", "cat/a.wav", "cover.png"]
    assert clip_names(["cat/a.mp4", *beside]) == (["cat/a.mp4"], beside)


def test_metadata_name_labels_and_splits(tmp_path):
    files(tmp_path, "a.mp4", "b/00.png", "b/sound.wav", "c.mp4")
    rows = ["file_name,label,split", "a.mp4,cat,train", "b,dog,test", "gone.mp4,cat,train"]
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    assert items(tmp_path) == [
        ("gone.mp4", None, None),
        ("a.mp4", "cat", "train"),
        ("b", "dog", "test"),
        ("c.mp4", None, None),
    ]


def test_official_splits_by_folder(tmp_path):
    files(tmp_path, "train/cat/a.mp4", "test/dog/b.mp4")
    assert items(tmp_path) == [("test/dog/b.mp4", "dog", "test"), ("train/cat/a.mp4", "cat", "train")]


def test_a_folder_without_clips(tmp_path):
    files(tmp_path, "a.wmv", "cover.png", "notes.txt")
    said = refusal(tmp_path)
    assert "holds no clips: videos (.mp4, .webm, .mkv, .mov" in said and ", or folders of frames" in said
    assert "1 not clips by their names (notes.txt); 2 neither videos nor parts of a clip (a.wmv, cover.png)" in said


def test_videos_lie_as_ucf101_has_them_beside_lists_of_its_splits(tmp_path):
    files(tmp_path, "UCF-101/Run/v_1.avi", "UCF-101/Swim/v_2.avi", "ucfTrainTestlist/classInd.txt")
    assert [label for _, label, _ in items(tmp_path)] == ["Run", "Swim"]


def test_a_path_that_is_no_folder(tmp_path):
    files(tmp_path, "a.mp4")
    assert refusal(tmp_path / "a.mp4").endswith("a.mp4 is a file, expected a folder of clips")
    assert refusal(tmp_path / "gone").endswith("does not exist")


def test_a_column_of_classes_may_be_named(tmp_path):
    files(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "metadata.csv").write_text("file_name,speaker,label\na.mp4,Ann,1\nb.mp4,Bob,2\n")
    config = VideoIngestion(source="video", path=str(tmp_path), label="speaker")
    assert [item.label for item in open_source(config, tmp_path).items] == ["Ann", "Bob"]


def test_metadata_in_the_folders_of_splits(tmp_path):
    files(tmp_path, "train/a.mp4", "test/b.mp4")
    (tmp_path / "train/metadata.csv").write_text("file_name,label\na.mp4,cat\n")
    (tmp_path / "test/metadata.csv").write_text("file_name,label\nb.mp4,dog\n")
    assert items(tmp_path) == [("test/b.mp4", "dog", "test"), ("train/a.mp4", "cat", "train")]
