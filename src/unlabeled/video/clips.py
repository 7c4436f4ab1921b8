"""Reading and writing of clips by PyAV, which includes FFmpeg."""

import struct
import tempfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
from av.container import InputContainer, OutputContainer

from unlabeled.images.decode import Decoded, UndecodableError, decode
from unlabeled.ingestion.walk import read_file
from unlabeled.storage.arrays import replace_file
from unlabeled.video.config import VideoIngestion

Frame = TypeVar("Frame", av.VideoFrame, av.AudioFrame)

VIDEOS = (".mp4", ".webm", ".mkv", ".mov", ".m4v", ".avi")
IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
SOUND = ".wav"
MAX_STREAMS = 64
"""Largest number of streams in a file: pictures, sounds and subtitles."""
READ_OPTIONS = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,wav", "max_streams": str(MAX_STREAMS)}
"""FFmpeg's options for reading. Playlists are excluded, whatever a file is called: FFmpeg would open the files and
addresses that they name."""
MAX_PIXELS = 2**25
"""Largest number of pixels of a frame, about that of 8K."""
RATES = 1000, 768_000
"""Lowest and highest sampling rate of a sound in Hz: at another rate, a moment could be resampled to hours."""
MAX_CHANNELS = 64
"""Largest number of channels of a sound."""
MAX_RATE = 1000
"""Frames, or parts of a sound, a second, above which a file's clock is assumed to be broken."""
UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFF)
"""Sizes that a WAV states where its length was unknown when it was written."""
DEFAULT_FPS = 25
"""Frames a second of a video that states none."""
ROUNDING_SECONDS = 0.001
"""Rounding error of containers for the time of a frame, in seconds."""
MIN_GAP_SECONDS = 0.01
"""Least gap in a sound, in seconds, that becomes silence: containers round the time of each part."""
MIN_COMPLETE_SHARE = 0.9
"""Fraction of the stated duration below which a file counts as cut short."""


@dataclass(frozen=True)
class Clip:
    """A decoded clip, and its properties as it was stored.

    Attributes:
        frames: uint8 (T, C, H, W), evenly spaced over the stored seconds, which begin with the picture or the sound,
            whichever is first.
        wave: int16 (S,), mono, of the same seconds.
        width, height: Size of a stored frame in pixels.
        seconds: Duration of the whole clip, by its header.
        grey: Whether the frames have no colours before any are converted to grey.
    """

    frames: np.ndarray
    wave: np.ndarray
    width: int
    height: int
    seconds: float
    grey: bool


def read_clip(path: Path, config: VideoIngestion) -> Clip:
    """Reads a video with its sound, or a folder of images, its frames in the order of their names, and one WAV.

    Args:
        config: Parameters of ingestion; `channels` None counts as 3.

    Raises:
        UndecodableError: The clip is damaged, cut short, or without frames or sound.
    """
    images, sound = parts_of(path)
    stated = _stated_seconds(sound)
    _check_wav(sound)
    wave, heard = _sound(sound, config.rate, config.samples)
    if not len(wave):
        raise UndecodableError("its sound is of zero length")
    if images:
        pictures, start, ends = _pictures(images, config, stated or config.seconds), heard, heard
    else:
        pictures, start, ends = _read_video(path, config, heard)
    silence = round((heard - start) * config.rate)
    if silence >= config.samples:
        raise UndecodableError(f"no sound in its first {config.seconds:g} seconds: it begins after {heard - start:.2f}")
    ends = max(ends - start, (silence + len(wave)) / config.rate)
    if stated and ends < MIN_COMPLETE_SHARE * min(stated, config.seconds):
        raise UndecodableError(f"cut short: it ends after {ends:.2f} of its {stated:.2f} seconds")
    frames = np.stack([picture.pixels for picture in pictures])
    grey = bool((frames == frames[:, :1]).all())
    if config.channels == 1:
        frames = np.stack([decode(frame.transpose(1, 2, 0), config.image_size, 1).pixels for frame in frames])
    wave = np.pad(wave, (silence, config.samples))[: config.samples]
    return Clip(frames, wave, pictures[0].width, pictures[0].height, stated or ends, grey)


def parts_of(path: Path) -> tuple[list[Path], Path]:
    """The images of a clip, none for a video, and the file that holds its sound.

    Raises:
        UndecodableError: A folder has no images, or not exactly one WAV.
    """
    if not path.is_dir():
        return [], path
    files = sorted(file for file in path.iterdir() if file.is_file())
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
        UndecodableError: The file is damaged, or has no sound.
    """
    return _sound(path, rate, samples)[0]


def _sound(path: Path, rate: int, samples: int) -> tuple[np.ndarray, float]:
    """The sound as `read_sound` returns it, with silence for gaps in the file's clock, and the second of that clock at
    which it begins. Sound with a time before the end of the sound so far follows directly."""
    resampler = av.AudioResampler("s16", "mono", rate)
    wave, filled, start = np.zeros(samples, np.int16), 0, None
    with _opened(path) as container:
        if not container.streams.audio:
            raise UndecodableError("no sound")
        _check_sound(container.streams.audio[0])
        frames = _limited(container.decode(container.streams.audio[0]), samples / rate)
        for frame in chain(frames, [None]):  # None flushes the resampler
            for part in resampler.resample(frame):
                start = _time(part) if start is None else start
                due = round((_time(part) - start) * rate)
                filled = min(samples, due) if due - filled > MIN_GAP_SECONDS * rate else filled
                piece = part.to_ndarray()[0][: samples - filled]
                wave[filled : filled + len(piece)] = piece
                filled += len(piece)
            if filled >= samples:
                break
    return wave[:filled], start or 0.0


def _check_sound(stream: av.audio.AudioStream) -> None:
    low, high = RATES
    if not low <= stream.rate <= high or not 1 <= stream.channels <= MAX_CHANNELS:
        raise UndecodableError(
            f"its sound has {stream.rate:,} Hz and {stream.channels} channels, expected {low:,} to {high:,} and "
            f"{MAX_CHANNELS} at most"
        )


def _check_wav(path: Path) -> None:
    """Raises UndecodableError for a WAV that states more sound than it contains, which FFmpeg would accept."""
    with path.open("rb") as file:
        kind, size, form = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        if (kind, form) != (b"RIFF", b"WAVE"):
            return
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"data":
                there = path.stat().st_size - file.tell()
                if size not in UNKNOWN_SIZES and there < MIN_COMPLETE_SHARE * size:
                    raise UndecodableError(f"cut short: it holds {there:,} of the {size:,} bytes of its sound")
                return
            file.seek(size + size % 2, 1)


def _limited(frames: Iterable[Frame], seconds: float) -> Iterator[Frame]:
    """The frames of some seconds. Raises UndecodableError where there are implausibly many."""
    most = MAX_RATE * (1 + seconds)
    for number, frame in enumerate(frames):
        if number > most:
            raise UndecodableError(f"more than {MAX_RATE:,} frames a second")
        yield frame


def clip_file(frames: np.ndarray, wave: np.ndarray, seconds: float, rate: int) -> bytes:
    """The bytes of an mp4 of frames uint8 (T, C, H, W), without an odd last row or column, and of a wave int16 (S,)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "clip.mp4")
        even = frames[:, :, : frames.shape[2] // 2 * 2, : frames.shape[3] // 2 * 2]
        write_clip(file, even, max(1, round(len(frames) / seconds)), wave, rate)
        return file.read_bytes()


def write_clip(path: Path, frames: np.ndarray, fps: int, wave: np.ndarray, rate: int) -> None:
    """Writes an mp4 of H.264 and AAC; equal input gives equal bytes.

    Args:
        frames: uint8 (T, C, H, W), C is 1 or 3, and H and W are even.
        fps: Frames a second.
        wave: int16 (S,).
        rate: Sampling rate of the wave in Hz, one that AAC supports: 8000, 16,000, 44,100, 48,000 and others.
    """

    def write(partial: Path) -> None:
        with av.open(partial, "w", container_options={"fflags": "+bitexact"}) as container:
            _mux(container, frames, fps, wave, rate)

    replace_file(path, write)


def _mux(container: OutputContainer, frames: np.ndarray, fps: int, wave: np.ndarray, rate: int) -> None:
    # A fixed quantiser and one thread: with rate control, x264 does not write the same bytes every time.
    video = container.add_stream("libx264", fps, {"qp": "18", "preset": "ultrafast", "threads": "1"})
    video.height, video.width, video.pix_fmt = *frames.shape[2:], "yuv420p"
    audio = container.add_stream("aac", rate, {"flags": "+bitexact"}, layout="mono")
    for image in frames.transpose(0, 2, 3, 1):
        pixels = np.ascontiguousarray(image.repeat(3 // image.shape[-1], axis=-1))
        container.mux(video.encode(av.VideoFrame.from_ndarray(pixels)))
    container.mux(video.encode())
    sound = av.AudioFrame.from_ndarray(wave[None], "s16", "mono")
    # With a time, the encoder's delay is written to the file, and removed again when it is read.
    sound.sample_rate, sound.pts, sound.time_base = rate, 0, Fraction(1, rate)
    container.mux(audio.encode(sound))
    container.mux(audio.encode())


def _stated_seconds(path: Path) -> float | None:
    """Duration of a file by its header; None: it states none, as in a recording by a browser."""
    with _opened(path) as container:
        # Matroska counts from its clock's zero, wherever the clip begins.
        before = max(0, container.start_time or 0) if "matroska" in container.format.name else 0
        seconds = ((container.duration or 0) - before) / av.time_base
        return seconds if seconds > 0 else None


def _read_video(path: Path, config: VideoIngestion, heard: float) -> tuple[list[Decoded], float, float]:
    """Reads the stored frames, upright, and the times at which the clip begins and its last frame ends.

    The clip begins with its picture or its sound, whichever is first, in seconds of the file's clock. Each frame is
    shown until the next one; the first also covers the time before it.

    Args:
        heard: Second at which its sound begins.
    """
    with _opened(path) as container:
        if not container.streams.video:
            raise UndecodableError("no frames: there is no video in it")
        stream = container.streams.video[0]
        stream.thread_count = 1  # here and below: each core already reads another clip
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        frames = _limited(container.decode(stream), config.seconds)
        shown = next(frames, None)
        if shown is None:
            raise UndecodableError("no frames: the video is empty")
        since = _time(shown)
        start = min(since, heard)
        if since - start >= config.seconds:
            raise UndecodableError(
                f"no frames in its first {config.seconds:g} seconds: they begin after {since - start:.2f}"
            )
        pictures, moments = [], start + _moments(config)
        for frame in frames:
            if (time := _time(frame)) > since:  # frames that go back in time are not shown
                if due := np.searchsorted(moments, time - ROUNDING_SECONDS) - len(pictures):
                    pictures += [_upright(shown, config)] * due
                shown, since = frame, time
            if since - start >= config.seconds:
                break
        if due := config.frames - len(pictures):
            pictures += [_upright(shown, config)] * due
    return pictures, start, since + 1 / float(stream.average_rate or DEFAULT_FPS)


def _upright(frame: av.VideoFrame, config: VideoIngestion) -> Decoded:
    picture = decode(frame.to_ndarray(format="rgb24", threads=1), config.image_size, 3)
    return replace(picture, pixels=np.rot90(picture.pixels, frame.rotation // 90, axes=(1, 2)))


def _pictures(images: list[Path], config: VideoIngestion, seconds: float) -> list[Decoded]:
    """The images to store, each shown for an equal part of some seconds, and the last one until the end."""
    shown = np.minimum(_moments(config) / seconds * len(images), len(images) - 1).astype(int)
    pictures = {number: _picture(images[number], config) for number in dict.fromkeys(shown)}
    return [pictures[number] for number in shown]


def _moments(config: VideoIngestion) -> np.ndarray:
    """The times of the stored frames in seconds from the start: the middle of each of as many equal parts."""
    return (np.arange(config.frames) + 0.5) * config.seconds / config.frames


def _time(frame: Frame) -> float:
    """The second of the file's clock at which a frame is shown or heard; its decoding time if it has no other."""
    moment = frame.pts if frame.pts is not None else frame.dts or 0
    if frame.time_base is None:
        raise UndecodableError("a frame without a clock")
    return float(moment * frame.time_base)


def _picture(path: Path, config: VideoIngestion) -> Decoded:
    try:
        return decode(read_file(path), config.image_size, 3)
    except UndecodableError as error:
        raise UndecodableError(f"{path.name}: {error}") from error


@contextmanager
def _opened(path: Path) -> Generator[InputContainer]:
    try:
        with av.open(f"file:{path}", container_options=READ_OPTIONS) as container:
            if len(container.streams) > MAX_STREAMS:
                raise UndecodableError(f"{len(container.streams):,} streams, expected {MAX_STREAMS} at most")
            yield container
    except UndecodableError:
        raise
    except av.FFmpegError as error:
        raise UndecodableError(f"damaged, or neither video nor WAV ({error.strerror})") from error
    except Exception as error:  # decoders raise errors of every kind on hostile files
        raise UndecodableError(f"{type(error).__name__}: {error}") from error
