"""The blocks of parameters whose keys are others for clips than for images."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from unlabeled.config import Block, Count, Fraction, Grouping, LabelColumn, Location, Pretraining, check_fractions


class VideoIngestion(Block):
    """Where clips come from, how they are decoded, and how they are split."""

    block: ClassVar[str] = "ingestion"
    source: Literal["moving_digits", "video"] = "moving_digits"
    """`moving_digits`: synthetic clips; `video`: a folder of videos, or of folders of frames and a WAV."""
    path: Location = None
    """The folder of the source `video`. The first folder below it that a clip is in is its label."""
    label: LabelColumn = None
    group: Grouping = None
    """Which clips belong together, as those of a video that they were cut from."""
    seconds: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    """Of a clip that are looked at and listened to, from where its picture or its sound begins, whichever is first; a
    shorter sound is filled up with silence, and of a shorter picture the last frame stands."""
    frames: Annotated[int, Field(ge=1, le=256)] = 8
    """T, kept of these seconds, evenly spaced; where a clip has fewer, some are repeated."""
    image_size: Annotated[int, Field(ge=4, le=1024)] = 32
    """Pixels a side of a stored frame: the shorter side is resized to it and the centre kept."""
    channels: Literal[1, 3] | None = None
    """None: 1 where a sample of the clips is all grey, else 3."""
    rate: Literal[8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000] = 8000
    """Hz of the stored sound, which is mono; sound of any other rate is resampled."""
    validation_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2
    """Shares drawn by content, where there is no such official split, of the clips that are in none."""
    max_quarantined: Fraction = 0.05
    rare_labels: Literal["refuse", "drop"] = "refuse"
    """A class with one clip: stop, or keep the clip without its label."""

    @property
    def name(self) -> str:
        """What results and the registry call the source."""
        return "synthetic_moving_digits" if self.source == "moving_digits" else self.source

    @property
    def samples(self) -> int:
        """S, of a stored sound."""
        return round(self.seconds * self.rate)

    @model_validator(mode="after")
    def _is_complete(self) -> "VideoIngestion":
        check_fractions(self.validation_fraction, self.test_fraction, "clips")
        if self.source == "video" and not self.path:
            raise ValueError(f"path={self.path!r}, expected ingestion.path to be set for the source video")
        if self.source != "video" and self.path:
            raise ValueError(f"path={self.path!r}, expected none for the source {self.source}: it is of source=video")
        return self


class Spectrograms(Block):
    """The log-mel spectrograms that stand for sounds."""

    block: ClassVar[str] = "augmentation"
    mels: Annotated[int, Field(ge=8, le=256)] = 40
    """Bands of the spectrum, evenly spaced as pitch is heard."""
    window_ms: Annotated[float, Field(ge=5, le=100)] = 25.0
    """Milliseconds of sound that a spectrum is of."""
    hop_ms: Annotated[float, Field(ge=1, le=100)] = 10.0
    """Milliseconds from one spectrum to the next."""

    def spectrograms_of(self, data_digest: str, order: str) -> dict[str, Any]:
        """All that decides the cached spectrograms, as JSON values; `order`: which clip is in which row."""
        return {"data_digest": data_digest, "order": order, **self.model_dump(mode="json")}


class VideoPretraining(Pretraining):
    """The loop, as for images, on two networks."""

    encoder: Literal["small_resnet", "resnet18", "resnet34", "resnet50"] = "small_resnet"
    """Of each frame."""
    sound_encoder: Literal["small_resnet", "resnet18", "resnet34", "resnet50"] = "small_resnet"
    """Of a spectrogram."""
    projection_dim: Count = 64
    """P, of the space that both share."""
    time_shift: Fraction = 0.1
    """Share of a spectrogram's length that it is moved at each use, at most, either way."""
    hidden_band: Fraction = 0.2
    """Share of its bands that are hidden at each use, at most."""
