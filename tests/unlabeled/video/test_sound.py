import numpy as np
import pytest

from unlabeled.errors import ConfigError
from unlabeled.video.config import Spectrograms
from unlabeled.video.sound import cache_spectrograms, hertz_of, log_mel, mel_bank, mel_of

RECIPE = Spectrograms()


def noise(count, samples=8000, seed=0):
    return np.random.default_rng(seed).integers(-9000, 9000, (count, samples)).astype(np.int16)


def slow_log_mel(wave, rate, recipe):
    """Window by window, frequency by frequency, band by band."""
    window, hop, points = int(recipe.window_ms * rate / 1000), int(recipe.hop_ms * rate / 1000), 512
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    corners = [700 * (10 ** (i * 2595 * np.log10(1 + rate / 1400) / (recipe.mels + 1) / 2595) - 1) for i in range(42)]
    columns = []
    for start in range(0, len(wave) - window + 1, hop):
        part = wave[start : start + window] / 32768 * hann
        bands = np.zeros(recipe.mels)
        for k in range(points // 2 + 1):
            power = abs(np.sum(part * np.exp(-2j * np.pi * k * np.arange(window) / points))) ** 2
            for m in range(recipe.mels):
                low, centre, high = corners[m : m + 3]
                f = k * rate / points
                rise, fall = (f - low) / (centre - low), (high - f) / (high - centre)
                bands[m] += power * max(0, min(rise, fall))
        columns.append(np.log10(np.maximum(bands, 1e-10)))
    spectrogram = np.array(columns).T
    spectrogram = np.maximum(spectrogram, spectrogram.max() - 8)
    return (spectrogram - spectrogram.mean()) / spectrogram.std()


def test_spectrograms_are_those_of_a_slow_loop():
    wave = noise(1, 1000)
    np.testing.assert_allclose(log_mel(wave, 8000, RECIPE)[0], slow_log_mel(wave[0], 8000, RECIPE), atol=1e-4)


@pytest.mark.parametrize("band", [3, 9, 20, 30, 39])
def test_a_tone_lies_in_the_band_of_its_frequency(tone, band):
    hertz = hertz_of(mel_of(4000) * (band + 1) / 41)
    assert (log_mel(tone(hertz)[None], 8000, RECIPE)[0].argmax(0) == band).all()


@pytest.mark.parametrize("rate, samples, windows", [(8000, 8000, 98), (16_000, 16_000, 98), (8000, 279, 1)])
def test_a_window_at_every_hop_that_lies_in_the_sound(rate, samples, windows):
    spectrograms = log_mel(noise(3, samples), rate, RECIPE)
    assert spectrograms.shape == (3, 40, windows) and spectrograms.dtype == np.float32


def test_silence_is_zero():
    assert (log_mel(np.zeros((2, 8000), np.int16), 8000, RECIPE) == 0).all()


def test_every_clip_has_a_mean_of_zero_and_a_std_of_one():
    spectrograms = log_mel(noise(5), 8000, RECIPE)
    np.testing.assert_allclose(spectrograms.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(spectrograms.std((1, 2)), 1, atol=1e-4)


def test_loudness_does_not_matter(tone):
    loud, soft = (log_mel(tone(loudness=loudness)[None], 8000, RECIPE) for loudness in (20_000, 5000))
    np.testing.assert_allclose(loud, soft, atol=0.05)


def test_sounds_do_not_know_of_each_other(monkeypatch):
    sounds = noise(7)
    together = log_mel(sounds, 8000, RECIPE)
    monkeypatch.setattr("unlabeled.video.sound.MAX_SAMPLES", 16_000)
    np.testing.assert_allclose(log_mel(sounds, 8000, RECIPE), together, atol=1e-5)


def test_the_bands_lie_evenly_as_pitch_is_heard():
    assert mel_of(1000) == pytest.approx(1000, abs=0.1) and hertz_of(mel_of(440)) == pytest.approx(440)
    bank = mel_bank(40, 8000, 4096)
    peaks = mel_of(bank.argmax(1) * 8000 / 4096)
    np.testing.assert_allclose(np.diff(peaks), mel_of(4000) / 41, atol=4)
    assert bank.min() == 0 and 0.9 < bank.max() <= 1


def test_more_bands_than_frequencies():
    with pytest.raises(ConfigError, match="augmentation.mels: received 256, too many .* at 8000 Hz"):
        log_mel(noise(1), 8000, Spectrograms(mels=256))


def test_spectrograms_are_cached(tmp_path):
    sounds = noise(70)
    cached = cache_spectrograms(sounds, 8000, RECIPE, tmp_path)
    assert isinstance(cached, np.memmap) and cached.dtype == np.float16 and cached.shape == (70, 40, 98)
    np.testing.assert_allclose(cached, log_mel(sounds, 8000, RECIPE), atol=2e-2)
    assert [path.name for path in tmp_path.iterdir()] == ["spectrograms.npy"]
