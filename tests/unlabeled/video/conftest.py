from fractions import Fraction

import av
import numpy as np
import pytest


@pytest.fixture(scope="session")
def tone():
    """A function: a sine as int16 (S,)."""

    def make(hertz=440, seconds=1.0, rate=8000, loudness=10_000):
        return (loudness * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.int16)

    return make


@pytest.fixture(scope="session")
def steps():
    """A function: grey frames, each brighter than the one before: uint8 (T, 1, H, W)."""

    def make(count=16, height=32, width=32):
        values = np.linspace(20, 230, count).round().astype(np.uint8)
        return np.broadcast_to(values[:, None, None, None], (count, 1, height, width)).copy()

    return make


@pytest.fixture(scope="session")
def film():
    """A function that writes a file of any format; None instead of frames or a wave: without such a stream."""

    def make(path, frames=None, wave=None, rate=8000, codecs=("libx264", "aac"), layout="mono", **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(path, "w", container_options=options) as container:
            if frames is not None:
                video = container.add_stream(codecs[0], 16)
                video.height, video.width, video.pix_fmt = *frames.shape[2:], "yuv420p"
            if wave is not None:
                audio = container.add_stream(codecs[1], rate, layout=layout)
            container.start_encoding()
            for image in frames if frames is not None else ():
                pixels = np.ascontiguousarray(image.transpose(1, 2, 0).repeat(3 // len(image), axis=-1))
                container.mux(video.encode(av.VideoFrame.from_ndarray(pixels)))
            if wave is not None and len(wave):
                sound = av.AudioFrame.from_ndarray(wave.repeat(audio.layout.nb_channels)[None], "s16", layout)
                sound.sample_rate, sound.pts, sound.time_base = rate, 0, Fraction(1, rate)
                container.mux(audio.encode(sound))
            for stream in container.streams:
                container.mux(stream.encode())
        return path

    return make
