"""One clip from its files and back: by PyAV, which brings FFmpeg with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer, OutputContainer

from unlabeled.arrays import replace_file
from unlabeled.decode import Decoded, UndecodableError, decode
from unlabeled.video.config import VideoIngestion

VIDEOS = (".mp4", ".webm", ".mkv", ".mov", ".m4v", ".avi")
IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
SOUND = ".wav"
READS = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,wav"}
"""No playlists, whatever a file is called: FFmpeg would open the files and the addresses that they name."""
FPS = 25
"""Frames a second of a film that does not say how many it has."""
ROUNDING = 0.001
"""Seconds that containers round the moment of a frame by."""
COMPLETE = 0.9
"""A file that ends before this share of the time that its header states has been cut short."""


@dataclass(frozen=True)
class Clip:
    """What is kept of a clip, and how it was stored.

    Attributes:
        frames: uint8 (T, C, H, W), evenly spaced over the seconds looked at.
        wave: int16 (S,), mono.
        width, height: Pixels of a stored frame.
        seconds: Of the whole clip, by its header.
    """

    frames: np.ndarray
    wave: np.ndarray
    width: int
    height: int
    seconds: float


def read_clip(path: Path, config: VideoIngestion) -> Clip:
    """Reads a film with its sound, or a folder that holds images, its frames in the order of their names, and one WAV.

    Args:
        config: Its `channels` are 3 where it has none.

    Raises:
        UndecodableError: Damaged, cut short, without frames or without sound.
    """
    images, sound = parts_of(path)
    stated = _stated_seconds(sound)
    if images:
        pictures, ends = _pictures(images, config, min(1.0, config.seconds / (stated or config.seconds))), 0.0
    else:
        pictures, ends = _film(path, config)
    wave = read_sound(sound, config.rate, config.samples)
    ends = max(ends, len(wave) / config.rate)
    if stated and ends < COMPLETE * min(stated, config.seconds):
        raise UndecodableError(f"cut short: it ends after {ends:.2f} of its {stated:.2f} seconds")
    if not len(wave):
        raise UndecodableError("its sound is of zero length")
    frames = np.stack([picture.pixels for picture in pictures])
    wave = np.pad(wave, (0, config.samples - len(wave)))
    return Clip(frames, wave, pictures[0].width, pictures[0].height, stated or ends)


def parts_of(path: Path) -> tuple[list[Path], Path]:
    """The images of a clip, none of them if it is a film, and the file that holds its sound.

    Raises:
        UndecodableError: A folder without images, or not with one WAV.
    """
    if not path.is_dir():
        return [], path
    files = sorted(path.iterdir())
    images = [file for file in files if file.suffix.lower() in IMAGES]
    sounds = [file for file in files if file.suffix.lower() == SOUND]
    if not images:
        raise UndecodableError("no frames: the folder holds no images")
    if len(sounds) != 1:
        raise UndecodableError(f"no sound: the folder holds {len(sounds) or 'no'} WAV files, expected one")
    return images, sounds[0]


def read_sound(path: Path, rate: int, samples: int) -> np.ndarray:
    """The first `samples` of a file's first sound at `rate` Hz, mono: int16, fewer where it is shorter.

    Raises:
        UndecodableError: Damaged, or without a sound.
    """
    resampler = av.AudioResampler("s16", "mono", rate)
    parts = [np.zeros(0, np.int16)]
    with _opened(path) as container:
        if not container.streams.audio:
            raise UndecodableError("no sound")
        for frame in chain(container.decode(container.streams.audio[0]), [None]):  # None: what is held back
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
            if sum(map(len, parts)) >= samples:
                break
    return np.concatenate(parts)[:samples]


def write_clip(path: Path, frames: np.ndarray, fps: int, wave: np.ndarray, rate: int) -> None:
    """Writes an mp4 of H.264 and AAC; the same bytes from the same input.

    Args:
        frames: uint8 (T, C, H, W), C is 1 or 3, and H and W are even.
        fps: Frames a second.
        wave: int16 (S,).
        rate: Hz of the wave, one that AAC has: 8000, 16,000, 44,100, 48,000 and others.
    """

    def write(partial: Path) -> None:
        with av.open(partial, "w", container_options={"fflags": "+bitexact"}) as container:
            _mux(container, frames, fps, wave, rate)

    replace_file(path, write)


def _mux(container: OutputContainer, frames: np.ndarray, fps: int, wave: np.ndarray, rate: int) -> None:
    # A fixed quantiser and one thread: with a rate to control, x264 does not write the same bytes every time.
    video = container.add_stream("libx264", fps, {"qp": "18", "preset": "ultrafast", "threads": "1"})
    video.height, video.width, video.pix_fmt = *frames.shape[2:], "yuv420p"
    audio = container.add_stream("aac", rate, {"flags": "+bitexact"}, layout="mono")
    for image in frames.transpose(0, 2, 3, 1):
        pixels = np.ascontiguousarray(image.repeat(3 // image.shape[-1], axis=-1))
        container.mux(video.encode(av.VideoFrame.from_ndarray(pixels)))
    container.mux(video.encode())
    sound = av.AudioFrame.from_ndarray(wave[None], "s16", "mono")
    # With its time, the encoder's delay is noted in the file, and left out again when it is read.
    sound.sample_rate, sound.pts, sound.time_base = rate, 0, Fraction(1, rate)
    container.mux(audio.encode(sound))
    container.mux(audio.encode())


def _stated_seconds(path: Path) -> float | None:
    """How long a file is by its header; None: it does not say, as where a browser has recorded it."""
    with _opened(path) as container:
        return container.duration / av.time_base if container.duration else None


def _film(path: Path, config: VideoIngestion) -> tuple[list[Decoded], float]:
    """The frames to keep, upright, and the second that the last of them all is shown until."""
    pictures, times = [], []
    with _opened(path) as container:
        if not container.streams.video:
            raise UndecodableError("no frames: there is no video in it")
        stream = container.streams.video[0]
        stream.thread_count = 1  # here and below: the cores have clips of their own
        for frame in container.decode(stream):
            times.append(frame.time)
            if times[-1] - times[0] >= config.seconds:
                break
            picture = decode(frame.to_ndarray(format="rgb24", threads=1), config.image_size, config.channels or 3)
            pixels = np.rot90(picture.pixels, frame.rotation // 90, axes=(1, 2))
            pictures.append(Decoded(pixels, picture.width, picture.height))
        if not pictures:
            raise UndecodableError("no frames: the video is empty")
        ends = times[-1] - times[0] + 1 / float(stream.average_rate or FPS)
    # By the moments at which they are shown: frames need not be equally long.
    moments = (np.arange(config.frames) + 0.5) / config.frames * min(ends, config.seconds)
    shown = np.searchsorted(times[: len(pictures)], times[0] + moments + ROUNDING, "right") - 1
    return [pictures[i] for i in shown], ends


def _pictures(images: list[Path], config: VideoIngestion, share: float) -> list[Decoded]:
    """Those to keep of the first images, of so large a share of all."""
    count = max(1, round(share * len(images)))
    return [_picture(images[i], config) for i in _evenly(count, config.frames)]


def _picture(path: Path, config: VideoIngestion) -> Decoded:
    try:
        return decode(path.read_bytes(), config.image_size, config.channels or 3)
    except UndecodableError as error:
        raise UndecodableError(f"{path.name}: {error}") from error


def _evenly(count: int, wanted: int) -> np.ndarray:
    """Numbers below `count`: the middle of each of as many equal parts as are wanted."""
    return ((np.arange(wanted) + 0.5) * count / wanted).astype(int)


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    try:
        with av.open(f"file:{path}", container_options=READS) as container:
            yield container
    except UndecodableError:
        raise
    except av.FFmpegError as error:
        raise UndecodableError(f"damaged, or neither video nor WAV ({error.strerror})") from error
    except Exception as error:  # decoders of hostile files raise of every kind
        raise UndecodableError(f"{type(error).__name__}: {error}") from error
