"""The blocks of parameters for clips whose keys differ from those for images."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from unlabeled.config import (
    Block,
    Count,
    Fraction,
    Grouping,
    LabelColumn,
    Location,
    Pretraining,
    check_fractions,
    data_set_name,
)


class VideoIngestion(Block):
    """Where clips come from, how they are decoded, and how they are split."""

    block: ClassVar[str] = "ingestion"
    source: Literal["moving_digits", "video"] = "moving_digits"
    """Source of the clips. `moving_digits`: synthetic clips; `video`: a folder of videos, or of folders of frames and a
    WAV."""
    path: Location = None
    """Folder of the source `video`. The first folder below it that a clip is in is the clip's label."""
    label: LabelColumn = None
    group: Grouping = None
    """Rule for clips that belong together, such as those cut from one video."""
    seconds: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    """Seconds of a clip that are stored, from where its picture or its sound begins, whichever is first. A shorter
    sound is padded with silence, and the last frame of a shorter picture is repeated."""
    frames: Annotated[int, Field(ge=1, le=256)] = 8
    """Frames stored for these seconds, evenly spaced (T); where a clip has fewer, some are repeated."""
    image_size: Annotated[int, Field(ge=4, le=1024)] = 32
    """Pixels a side of a stored frame: the shorter side is resized to it and the centre kept."""
    channels: Literal[1, 3] | None = None
    """None: 1 where a sample of the clips is all grey, else 3."""
    rate: Literal[8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000] = 8000
    """Sampling rate of the stored sound in Hz. It is mono; sound of any other rate is resampled."""
    validation_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2
    """Fractions drawn by content for validation and test, each only where there is no official split of that name, from
    clips that are in none."""
    max_quarantined: Fraction = 0.05
    rare_labels: Literal["refuse", "drop"] = "refuse"
    """Handling of a class with one clip: stop, or keep the clip without its label."""

    @property
    def name(self) -> str:
        """Name of the data set in results and in the registry."""
        return "synthetic_moving_digits" if self.source == "moving_digits" else data_set_name(self.path, self.source)

    @property
    def samples(self) -> int:
        """Samples of a stored sound (S)."""
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
    """Log-mel spectrograms, the networks' input for sounds."""

    block: ClassVar[str] = "augmentation"
    mels: Annotated[int, Field(ge=8, le=256)] = 40
    """Number of frequency bands, evenly spaced in perceived pitch."""
    window_ms: Annotated[float, Field(ge=5, le=100)] = 25.0
    """Milliseconds of sound in the window of one spectrum."""
    hop_ms: Annotated[float, Field(ge=1, le=100)] = 10.0
    """Milliseconds between the starts of two spectra."""

    def spectrograms_of(self, data_digest: str, order: str) -> dict[str, Any]:
        """Everything that decides the cached spectrograms, as JSON values; `order`: digest of which clip is in which
        row."""
        return {"data_digest": data_digest, "order": order, **self.model_dump(mode="json")}


class VideoPretraining(Pretraining):
    """The training loop, as for images, for two networks."""

    starts_from_weights: ClassVar[bool] = False
    encoder: Literal["small_resnet", "resnet18", "resnet34", "resnet50"] = "small_resnet"
    """Architecture of the network that embeds each frame."""
    sound_encoder: Literal["small_resnet", "resnet18", "resnet34", "resnet50"] = "small_resnet"
    """Architecture of the network that embeds a spectrogram."""
    projection_dim: Count = 64
    """Dimensions of the shared space (P)."""
    time_shift: Fraction = 0.1
    """Largest random shift in time at each use, in either direction, as a fraction of a spectrogram's length."""
    hidden_band: Fraction = 0.2
    """Largest fraction of a spectrogram's bands that is hidden at each use."""
