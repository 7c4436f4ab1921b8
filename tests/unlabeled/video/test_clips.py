import os
import struct
import tracemalloc
import wave as wav
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from unlabeled.images.decode import UndecodableError
from unlabeled.video.clips import read_clip, read_sound, write_clip
from unlabeled.video.config import VideoIngestion

GREY = VideoIngestion(channels=1)
FORMATS = {
    "clip.mp4": ("libx264", "aac", 8000),
    "clip.mov": ("mpeg4", "pcm_s16le", 8000),
    "clip.mkv": ("libx264", "libmp3lame", 16_000),
    "clip.webm": ("libvpx-vp9", "libopus", 48_000),
}
SEEN = [1, 3, 5, 7, 9, 11, 13, 15]
"""Of 16 frames, those in the middle of eight equal parts."""
UPRIGHT, TURNED = (65536, 0, 0, 0, 65536, 0, 0, 0, 2**30), (0, 65536, 0, -65536, 0, 0, 32 << 16, 0, 2**30)
"""The matrix in an mp4's header, as it is written, and as a phone writes it that is held upright."""


def refusal(path, config=GREY):
    with pytest.raises(UndecodableError) as refused:
        read_clip(path, config)
    message = str(refused.value)
    assert "\n" not in message and str(path) not in message
    return message


def folder_of(path, frames, sound, rate=8000, size=8):
    """Frames as PNG files, and a WAV; None: without it."""
    path.mkdir()
    for number in range(frames):
        Image.new("L", (size, size), 10 * number).save(path / f"{number:02d}.png")
    if sound is not None:
        with wav.open(str(path / "sound.wav"), "wb") as file:
            file.setnchannels(1), file.setsampwidth(2), file.setframerate(rate)
            file.writeframes(sound.tobytes())
    return path


def likeness(one, other):
    """The largest correlation of two sounds of one length, whichever begins up to 10 ms before the other."""
    shifts = [(one[lag : len(one)], other[: len(one) - lag]) for lag in range(80)]
    shifts += [(b, a) for a, b in [(other[lag : len(one)], one[: len(one) - lag]) for lag in range(80)]]
    return max(np.corrcoef(a, b)[0, 1] for a, b in shifts)


def test_what_is_written_is_read_again(tmp_path, steps, tone):
    write_clip(tmp_path / "clip.mp4", steps(), 16, tone(), 8000)
    clip = read_clip(tmp_path / "clip.mp4", GREY)
    assert clip.frames.shape == (8, 1, 32, 32) and clip.frames.dtype == np.uint8
    assert clip.wave.shape == (8000,) and clip.wave.dtype == np.int16
    assert (clip.width, clip.height, clip.seconds) == (32, 32, 1.0)
    np.testing.assert_allclose(clip.frames, steps()[SEEN], atol=4)
    assert np.corrcoef(clip.wave, tone())[0, 1] > 0.99  # and without a delay


def test_colours_are_kept(tmp_path, tone):
    frames = np.zeros((16, 3, 32, 32), np.uint8)
    frames[:, 0, :, :16], frames[:, 2, :, 16:] = 200, 200
    write_clip(tmp_path / "clip.mp4", frames, 16, tone(), 8000)
    clip = read_clip(tmp_path / "clip.mp4", VideoIngestion())
    np.testing.assert_allclose(clip.frames[:, :, :, [4, 28]], frames[:8, :, :, [4, 28]], atol=8)


def test_the_same_clip_is_written_as_the_same_bytes(tmp_path, steps, tone):
    for name in ("a.mp4", "b.mp4"):
        write_clip(tmp_path / name, steps(), 16, tone(), 8000)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_clip_that_cannot_be_written_leaves_nothing(tmp_path, steps, tone):
    with pytest.raises(ValueError, match="dtype"):
        write_clip(tmp_path / "clip.mp4", steps(), 16, tone().astype(np.float64), 8000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read(tmp_path, film, steps, tone, name):
    *codecs, rate = FORMATS[name]
    clip = read_clip(film(tmp_path / name, steps(), tone(rate=rate), rate, codecs), GREY)
    np.testing.assert_allclose(clip.frames, steps()[SEEN], atol=6)
    assert likeness(clip.wave, tone()) > 0.95


def test_a_film_that_does_not_say_how_long_it_is(tmp_path, film, steps, tone):
    clip = read_clip(
        film(tmp_path / "clip.webm", steps(), tone(rate=48_000), 48_000, ("libvpx", "libopus"), live="1"), GREY
    )
    assert clip.seconds == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(clip.frames, steps()[SEEN], atol=6)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 44_100])
def test_sound_of_any_rate_becomes_one_of_the_rate_asked_for(tmp_path, film, steps, tone, rate):
    path = film(tmp_path / "clip.mkv", steps(), tone(rate=rate), rate, ("libx264", "pcm_s16le"))
    assert likeness(read_clip(path, GREY).wave, tone()) > 0.99


def test_stereo_becomes_mono(tmp_path, film, steps, tone):
    path = film(tmp_path / "clip.mov", steps(), tone(), codecs=("libx264", "pcm_s16le"), layout="stereo")
    assert likeness(read_clip(path, GREY).wave, tone()) > 0.99


def test_of_a_longer_clip_the_first_seconds_are_kept(tmp_path, steps, tone):
    frames, wave = np.concatenate([steps(), 0 * steps(32)]), np.concatenate([tone(), tone(1000, 2.0)])
    write_clip(tmp_path / "clip.mp4", frames, 16, wave, 8000)
    clip = read_clip(tmp_path / "clip.mp4", GREY)
    np.testing.assert_allclose(clip.frames, steps()[SEEN], atol=6)
    assert likeness(clip.wave, tone()) > 0.99 and clip.seconds == 3.0


def test_a_shorter_sound_is_filled_up_with_silence(tmp_path, film, steps, tone):
    path = film(tmp_path / "clip.mov", steps(), tone(seconds=0.4), codecs=("libx264", "pcm_s16le"))
    wave = read_clip(path, GREY).wave
    np.testing.assert_array_equal(wave[:3200], tone(seconds=0.4))
    assert wave.shape == (8000,) and not wave[3200:].any()


CLOCKS = {
    "clip.mp4": ("libx264", "aac", 44_100),
    "clip.mov": ("mpeg4", "pcm_s16le", 8000),
    "clip.mkv": ("libx264", "libmp3lame", 16_000),
    "clip.webm": ("libvpx", "libopus", 48_000),
}
TWO_SECONDS = VideoIngestion(channels=1, frames=100, seconds=2.0)


def clap(path, picture=(0.0, 2.0), sound=(0.0, 2.0), at=1.0, lost_frames=(9, 9), lost_sound=(9, 9), zero=0.0, jump=9.0):
    """Writes a clip that is black and silent until a second of its clock, then white with a tone.

    Args:
        picture, sound: Seconds at which the track begins and ends.
        at: When the clap is.
        lost_frames, lost_sound: Seconds between which the track has nothing.
        zero: Added to all times of the file.
        jump: The second from which on the times of the sound are a day later.
    """
    *codecs, rate = CLOCKS[path.name]
    with av.open(path, "w") as container:
        video = container.add_stream(codecs[0], 50)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream(codecs[1], rate, layout="mono")
        container.start_encoding()
        for number in range(round(50 * picture[0]), round(50 * picture[1])):
            if not lost_frames[0] <= (second := number / 50) < lost_frames[1]:
                frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 255 * (second >= at), np.uint8))
                frame.pts, frame.time_base = round(1000 * (second + zero)), Fraction(1, 1000)
                container.mux(video.encode(frame))
        times = np.arange(round(sound[0] * rate), round(sound[1] * rate)) / rate
        wave = (10_000 * np.sin(2 * np.pi * 440 * times) * (times >= at)).astype(np.int16)
        step = audio.frame_size or 1024
        for start in range(0, len(wave), step):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + step], "s16", "mono")
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = start + round((sound[0] + zero) * rate)
            for packet in audio.encode(frame):
                second = float(packet.pts * packet.time_base) - zero
                packet.pts = packet.dts = packet.pts + (86_400 * rate if second >= jump else 0)
                if not lost_sound[0] <= second < lost_sound[1]:
                    container.mux(packet)
        container.mux(video.encode(None))
        if jump == 9:
            container.mux(audio.encode(None))
    return path


def seen_and_heard(path, config=TWO_SECONDS):
    """The seconds at which the clap is stored."""
    clip = read_clip(path, config)
    seen = np.argmax(clip.frames.mean((1, 2, 3)) > 128) * config.seconds / config.frames
    return seen, np.argmax(np.abs(clip.wave.astype(int)) > 3000) / config.rate


@pytest.mark.parametrize("name", CLOCKS)
@pytest.mark.parametrize(
    "tracks",
    [
        {},
        {"sound": (0.6, 2.0)},
        {"picture": (0.6, 2.0)},
        {"picture": (0.0, 1.3)},
        {"sound": (0.0, 1.3)},
        {"picture": (0.3, 1.5), "sound": (0.1, 1.2), "zero": -0.1},
        {"picture": (0.0, 5.0), "sound": (0.9, 1.4)},
        {"lost_frames": (0.2, 0.7)},
        {"lost_frames": (0.98, 1.5), "at": 1.5},
        {"zero": 7.0},
    ],
    ids=str,
)
def test_picture_and_sound_are_laid_on_the_clock_of_their_file(tmp_path, name, tracks):
    starts = [tracks.get(track, (0.0, 2.0))[0] for track in ("picture", "sound")]
    clap_is_at = tracks.get("at", 1.0) - min(starts)
    np.testing.assert_allclose(seen_and_heard(clap(tmp_path / name, **tracks)), clap_is_at, atol=0.026)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.webm"])  # a mov of PCM cannot say that some is missing
@pytest.mark.parametrize("lost", [(0.3, 0.34), (0.3, 0.8)])
def test_what_is_missing_in_a_sound_is_silence(tmp_path, name, lost):
    np.testing.assert_allclose(seen_and_heard(clap(tmp_path / name, lost_sound=lost)), 1.0, atol=0.026)


def test_a_picture_that_begins_late_shows_its_first_frame_before(tmp_path):
    clip = read_clip(clap(tmp_path / "clip.mkv", picture=(0.6, 2.0), at=0.3), TWO_SECONDS)
    assert clip.frames.min() > 240 and not np.abs(clip.wave[:2300]).max() > 300


def test_a_clip_shorter_than_the_seconds_looked_at_is_not_stretched(tmp_path):
    path = clap(tmp_path / "clip.mp4", picture=(0.0, 0.8), sound=(0.0, 0.8), at=0.5)
    np.testing.assert_allclose(seen_and_heard(path), 0.5, atol=0.026)


def test_images_and_a_wav_shorter_than_the_seconds_looked_at_are_not_stretched(tmp_path, tone):
    clip = read_clip(folder_of(tmp_path / "clip", 4, tone(seconds=1.0)), TWO_SECONDS)
    assert clip.frames[:, 0, 0, 0].tolist() == [0] * 12 + [10] * 13 + [20] * 12 + [30] * 63


@pytest.mark.parametrize("track, kind", [("sound", "sound"), ("picture", "frames")])
def test_a_track_that_begins_after_the_seconds_looked_at(tmp_path, track, kind):
    path = clap(tmp_path / "clip.mkv", **{"picture": (0.0, 4.0), "sound": (0.0, 4.0)} | {track: (2.5, 4.0)})
    assert refusal(path, TWO_SECONDS).startswith(f"no {kind} in its first 2 seconds:")


def test_hours_of_silence_that_times_claim_take_no_memory(tmp_path):
    path = clap(tmp_path / "clip.mkv", jump=1.3)
    tracemalloc.start()
    wave = read_clip(path, TWO_SECONDS).wave
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()
    assert np.abs(wave[8500:10_000]).max() > 8000 and not wave[11_500:].any()


def test_of_fewer_frames_some_are_repeated(tmp_path, steps, tone):
    write_clip(tmp_path / "clip.mp4", steps(4), 4, tone(), 8000)
    np.testing.assert_allclose(read_clip(tmp_path / "clip.mp4", GREY).frames, steps(4).repeat(2, 0), atol=4)


def test_of_a_wide_frame_the_middle_is_kept(tmp_path, tone):
    frames = np.zeros((16, 1, 32, 64), np.uint8)
    frames[..., 16:48] = 200
    write_clip(tmp_path / "clip.mp4", frames, 16, tone(), 8000)
    clip = read_clip(tmp_path / "clip.mp4", VideoIngestion(channels=1, image_size=16))
    assert clip.frames.shape == (8, 1, 16, 16) and clip.frames[..., 2:-2].min() > 190
    assert (clip.width, clip.height) == (64, 32)


def test_a_clip_is_turned_upright(tmp_path, tone):
    frames = np.zeros((16, 1, 32, 32), np.uint8)
    frames[:, :, :16] = 200  # the upper half
    write_clip(tmp_path / "clip.mp4", frames, 16, tone(), 8000)
    content = (tmp_path / "clip.mp4").read_bytes()
    before, after = (struct.pack(">9i", *matrix) for matrix in (UPRIGHT, TURNED))
    start = content.index(before, content.index(b"tkhd"))
    (tmp_path / "clip.mp4").write_bytes(content[:start] + after + content[start + len(after) :])
    pixels = read_clip(tmp_path / "clip.mp4", GREY).frames
    assert pixels[..., 20:].min() > 180 and pixels[..., :12].max() < 20  # clockwise: up becomes right


def test_a_clip_without_sound(tmp_path, film, steps):
    assert refusal(film(tmp_path / "clip.mp4", steps())) == "no sound"


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_clip_without_frames(tmp_path, film, tone, name):
    assert refusal(film(tmp_path / name, wave=tone())) == "no frames: there is no video in it"


def test_a_clip_whose_video_has_no_frames(tmp_path, film, steps, tone):
    path = film(tmp_path / "clip.mkv", steps(0), tone(), codecs=("mpeg4", "pcm_s16le"))
    assert refusal(path) == "no frames: the video is empty"


@pytest.mark.parametrize("name", FORMATS)
def test_a_clip_whose_sound_is_of_zero_length(tmp_path, film, steps, tone, name):
    *codecs, rate = FORMATS[name]
    path = film(tmp_path / name, steps(), tone(seconds=0), rate, codecs)
    assert refusal(path) in ("its sound is of zero length", "no sound")


@pytest.mark.parametrize("content", [b"", b"hello", bytes(5000), b"#EXTM3U\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n"])
def test_what_is_no_clip(tmp_path, content):
    (tmp_path / "clip.mp4").write_bytes(content)
    assert refusal(tmp_path / "clip.mp4").startswith("damaged, or neither video nor WAV (Invalid data")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
def test_a_clip_that_is_cut_short(tmp_path, film, steps, tone, name, share):
    *codecs, rate = FORMATS[name]
    noise = np.random.default_rng(0).integers(0, 256, (16, 1, 32, 32), dtype=np.uint8)
    path = film(tmp_path / name, noise, tone(rate=rate), rate, codecs)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert refusal(path).startswith(("damaged, or neither", "cut short: it ends after 0.", "no sound"))


def test_frames_and_a_wav_are_a_clip(tmp_path, tone):
    clip = read_clip(folder_of(tmp_path / "clip", 16, tone()), VideoIngestion(channels=1, image_size=8))
    assert clip.frames[:, 0, 0, 0].tolist() == [10 * number for number in SEEN]
    np.testing.assert_array_equal(clip.wave, tone())
    assert (clip.width, clip.height, clip.seconds) == (8, 8, 1.0)


def test_the_frames_that_last_as_long_as_the_wav_are_cut_with_it(tmp_path, tone):
    clip = read_clip(folder_of(tmp_path / "clip", 24, tone(seconds=2.0)), VideoIngestion(frames=3, channels=1))
    assert clip.frames[:, 0, 0, 0].tolist() == [20, 60, 100]  # of the first 12


def test_a_wav_of_zero_length(tmp_path, tone):
    assert refusal(folder_of(tmp_path / "clip", 4, tone(seconds=0))) == "its sound is of zero length"


def test_frames_without_a_wav(tmp_path, tone):
    assert refusal(folder_of(tmp_path / "clip", 4, None)) == "no sound: the folder holds no WAV files, expected one"


def test_frames_with_two_wavs(tmp_path, tone):
    path = folder_of(tmp_path / "clip", 4, tone())
    (path / "other.WAV").write_bytes((path / "sound.wav").read_bytes())
    assert refusal(path) == "no sound: the folder holds 2 WAV files, expected one"


def test_a_wav_without_frames(tmp_path, tone):
    assert refusal(folder_of(tmp_path / "clip", 0, tone())) == "no frames: the folder holds no images"


def test_a_frame_that_is_no_image(tmp_path, tone):
    path = folder_of(tmp_path / "clip", 1, tone())
    (path / "00.png").write_bytes(b"hello")
    assert refusal(path) == "00.png: not an image"


def test_a_sound_alone_is_read_as_long_as_it_is(tmp_path, tone):
    path = folder_of(tmp_path / "clip", 0, tone(seconds=0.5)) / "sound.wav"
    np.testing.assert_array_equal(read_sound(path, 8000, 8000), tone(seconds=0.5))
    np.testing.assert_array_equal(read_sound(path, 8000, 100), tone(seconds=0.5)[:100])


def wav_of(stated=16_000, rate=8000, channels=1):
    """A second of silence, and what its header states."""
    form = struct.pack("<HHIIHH", 1, channels, rate, 2 * rate, 2 * channels, 16)
    return b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0" + form + b"data" + struct.pack("<I", stated) + bytes(16_000)


@pytest.mark.parametrize("stated", [20_000, 4_000_000_000])
def test_a_wav_that_states_more_than_it_holds_is_cut_short(tmp_path, stated):
    folder = folder_of(tmp_path / "clip", 8, None)
    (folder / "a.wav").write_bytes(wav_of(stated))
    assert refusal(folder) == f"cut short: it holds 16,000 of the {stated:,} bytes of its sound"


@pytest.mark.parametrize("stated", [0, 2**32 - 1, 16_000, 16_500])
def test_a_wav_that_was_written_before_its_length_was_known_is_whole(tmp_path, stated):
    folder = folder_of(tmp_path / "clip", 8, None)
    (folder / "a.wav").write_bytes(wav_of(stated))
    assert len(read_clip(folder, GREY).wave) == 8000


@pytest.mark.parametrize("header", [{"rate": 1}, {"channels": 255}])
def test_a_sound_of_a_rate_or_of_channels_that_no_sound_has(tmp_path, header):
    (tmp_path / "a.wav").write_bytes(wav_of(**header))
    with pytest.raises(UndecodableError, match=r"^its sound has|^damaged"):
        read_sound(tmp_path / "a.wav", 8000, 8000)


def test_a_clock_that_stands_still_is_noticed(monkeypatch, tmp_path, steps, tone):
    write_clip(tmp_path / "clip.mp4", steps(), 16, tone(), 8000)
    monkeypatch.setattr("unlabeled.video.clips.MAX_RATE", 4)
    assert refusal(tmp_path / "clip.mp4") == "more than 4 frames a second"


def test_what_is_no_file_in_the_folder_of_a_clip_is_no_part_of_it(tmp_path, tone):
    folder = folder_of(tmp_path / "clip", 8, tone())
    os.mkfifo(folder / "0.png"), os.mkfifo(folder / "0.wav")
    assert read_clip(folder, GREY)


def test_a_frame_of_more_pixels_than_8k_is_refused(tmp_path, steps, tone, monkeypatch):
    write_clip(tmp_path / "clip.mp4", steps(), 16, tone(), 8000)
    monkeypatch.setattr("unlabeled.video.clips.MAX_PIXELS", 100)
    assert refusal(tmp_path / "clip.mp4").startswith("damaged, or neither video nor WAV")
