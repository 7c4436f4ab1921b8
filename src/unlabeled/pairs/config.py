"""The blocks of parameters for captioned images whose keys differ from those for images."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from unlabeled.config import (
    Augmentation,
    Count,
    Evaluation,
    Expression,
    Ingestion,
    Location,
    Name,
    PerView,
    Positive,
    Pretraining,
    Probability,
)


class PairsIngestion(Ingestion):
    """Where images and their captions come from; all other keys are as for images."""

    # ty: ignore[incompatible-attribute-override]: images are read from a source that is given
    source: Literal["captioned_digits", "pairs"] = "captioned_digits"
    """Source of the pairs. `captioned_digits`: scikit-learn's digits, each described in a few words, always available;
    `pairs`: images with texts."""
    path: Location = None
    """Location of the source `pairs`: a folder of images with a table of their names and captions, such a table, a
    Parquet file of images and captions, or a folder of these."""
    caption: Name | None = None
    """The column of captions; None: the one with a usual name, or the only one that holds sentences."""
    together: Expression = None
    """A regular expression for the source `pairs`. Captions that are equal once its matches are removed form a group,
    and stay on one side of the split. None: `group` makes the groups."""
    tokenizer: Literal["wordpiece", "bpe"] = "wordpiece"
    vocabulary: Annotated[int, Field(ge=32, le=65_536)] | None = None
    """Number of tokens that the tokenizer learns from the captions of the training split; None: all there are, at most
    4096."""

    @property
    def groups(self) -> str:
        return f"ingestion.together={self.together!r}" if self.together else super().groups

    @model_validator(mode="after")
    def _is_complete(self) -> "PairsIngestion":
        if self.source == "pairs" and not self.path:
            raise ValueError(f"path={self.path!r}, expected ingestion.path to be set for the source pairs")
        for name in ("path", "together", "caption"):
            if self.source != "pairs" and (given := getattr(self, name)):
                raise ValueError(f"{name}={given!r}, expected none for the source {self.source}: it is of source=pairs")
        if self.together and self.group:
            raise ValueError(f"together={self.together!r} and group={self.group!r}, expected one of both")
        return self


class PairAugmentation(Augmentation):
    """The recipe of an image's view, and the length to which captions are cut.

    The defaults of this class are for photographs: captions name sides, colours and parts, so that views are not
    mirrored, keep their colours, and show most of the image. Those of conf/base are for digits.
    """

    digits: ClassVar[Mapping[str, Any]] = {
        "crop_scale": (1.0, 1.0),
        "crop_ratio": (1.0, 1.0),
        "degrees": 5.0,
        "shear": 5.0,
        "translate": 0.1,
        "jitter": 0.0,
    }
    crop_scale: Annotated[tuple[Positive, Positive], Field(strict=False)] = (0.6, 1.0)
    flip: Probability = 0.0
    jitter: Probability = 0.5
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.2
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.2
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    gray: Probability = 0.0
    solarize: PerView = (0.0,)
    caption_length: Annotated[int, Field(ge=4, le=512)] = 32
    """Largest number of tokens of a caption; the rest is cut off."""

    def captions_of(self, data_digest: str, order: str) -> dict[str, Any]:
        """Everything that decides the cached captions, as JSON values; `order`: digest of which pair is in which
        row."""
        return {"data_digest": data_digest, "order": order, "caption_length": self.caption_length}

    def crops_of(self, data_digest: str, order: str) -> dict[str, Any]:
        """Everything that decides the cached crops and captions, as JSON values."""
        return super().crops_of(data_digest, order) | self.captions_of(data_digest, order)


class PairPretraining(Pretraining):
    """The training loop, as for images, for two networks."""

    starts_from_weights: ClassVar[bool] = False
    encoder: Literal[
        "small_resnet", "resnet18", "resnet34", "resnet50", "small_vit", "vit_tiny", "vit_small", "vit_base"
    ] = "small_resnet"
    """Architecture of the encoder of images."""
    text_encoder: Literal["tiny_transformer", "small_transformer", "base_transformer"] = "tiny_transformer"
    projection_dim: Count = 128
    """Dimensions of the shared space (P)."""


class PairEvaluation(Evaluation):
    """The pinned protocol, with prompts that put a class into words."""

    prompts: Annotated[tuple[Name, ...], Field(strict=False, min_length=1)] = ("{}",)
    """Texts in which {} stands for a class; the class's embedding is the mean over them."""

    @model_validator(mode="after")
    def _prompts_name_the_class(self) -> "PairEvaluation":
        for prompt in self.prompts:
            if "{}" not in prompt:
                raise ValueError(f"prompts={list(self.prompts)}, expected {{}} in each, where the class stands")
        return self
