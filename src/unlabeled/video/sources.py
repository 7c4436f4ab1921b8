"""Sources of clips: videos, or folders of frames with a WAV, with the labels that are known."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from unlabeled.images.sources import named_items
from unlabeled.ingestion.items import Source
from unlabeled.ingestion.walk import CLIPS, find_files
from unlabeled.video.clips import IMAGES, SOUND, VIDEOS
from unlabeled.video.config import VideoIngestion
from unlabeled.video.moving_digits import clips_folder, make_clips

EXPECTED = f"clips: videos ({', '.join(VIDEOS)}), or folders of frames and a {SOUND} in folders of their own"


def open_source(config: VideoIngestion, folder: Path) -> Source:
    """Opens the clips that `ingestion.source` names; missing synthetic ones are made in `folder`.

    Raises:
        DataError: The folder is missing, unreadable, or without clips.
    """
    if config.source == "moving_digits":
        root = clips_folder(folder)
        make_clips(root)
    else:
        root = Path(str(config.path)).expanduser()
    found = find_files(root, "ingestion.path", CLIPS)
    names, strays = clip_names(found.names)
    found.left_out.add("neither videos nor parts of a clip", strays)
    return named_items(root, replace(found, names=names), CLIPS.name, EXPECTED, config.label, config.group)


def clip_names(names: list[str]) -> tuple[list[str], list[str]]:
    """The videos of a folder and its subfolders with images or a WAV and no video; and all other files."""
    videos = {name for name in names if name.lower().endswith(VIDEOS)}
    parts = {name for name in names if name.lower().endswith((*IMAGES, SOUND))}
    folders = _folders(parts) - _folders(videos) - {"."}
    strays = [name for name in names if name not in videos and not (name in parts and _folder(name) in folders)]
    return sorted([*videos, *folders]), strays


def _folders(names: Iterable[str]) -> set[str]:
    return {_folder(name) for name in names}


def _folder(name: str) -> str:
    return PurePosixPath(name).parent.as_posix()
