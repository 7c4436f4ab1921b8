"""Where clips come from: films, or folders of frames with a WAV, with what is known of their labels."""

from pathlib import Path, PurePosixPath

from unlabeled.items import Source
from unlabeled.sources import named_items
from unlabeled.video.clips import IMAGES, SOUND, VIDEOS
from unlabeled.video.config import VideoIngestion
from unlabeled.video.moving_digits import clips_folder, make_clips
from unlabeled.walk import every_file

KIND = f"clips: films ({', '.join(VIDEOS)}), or folders of frames and a {SOUND} in folders of their own"


def open_source(config: VideoIngestion, folder: Path) -> Source:
    """The clips that `ingestion.source` names; the synthetic ones are made in `folder` where they are missing.

    Raises:
        DataError: The folder is missing, unreadable, or without clips.
    """
    if config.source == "moving_digits":
        root = clips_folder(folder)
        make_clips(root)
    else:
        root = Path(str(config.path)).expanduser()
    found = every_file(root, "ingestion.path", "clips")
    return named_items(root, found, clip_names(found), KIND, config.label)


def clip_names(names: list[str]) -> list[str]:
    """Of the files of a folder, the films; and the folders that hold images or a WAV, and no film."""
    films = [name for name in names if name.lower().endswith(VIDEOS)]
    parts = [name for name in names if name.lower().endswith((*IMAGES, SOUND))]
    return sorted([*films, *(_folders(parts) - _folders(films) - {"."})])


def _folders(names: list[str]) -> set[str]:
    return {PurePosixPath(name).parent.as_posix() for name in names}
