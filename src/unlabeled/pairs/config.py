"""The blocks of parameters whose keys are others for captioned images than for images alone."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from unlabeled.config import Augmentation, Count, Evaluation, Expression, Ingestion, Location, Name, Pretraining


class PairsIngestion(Ingestion):
    """Where images and their captions come from; all else is as for images."""

    # ty: ignore[incompatible-attribute-override]: images are read from a source that is given
    source: Literal["captioned_digits", "pairs"] = "captioned_digits"
    """`captioned_digits`: scikit-learn's digits, each in a few words, always there; `pairs`: images with texts."""
    path: Location = None
    """Of the source `pairs`: a folder with a metadata.csv of `file_name,text`, a Parquet file or a folder of them."""
    together: Expression = None
    """A regular expression, of the source `pairs`: captions that read alike without what it matches stay on one side of
    the split, and are a group. None: `group` makes the groups."""
    tokenizer: Literal["wordpiece", "bpe"] = "wordpiece"
    vocabulary: Annotated[int, Field(ge=32, le=65_536)] | None = None
    """Tokens that the tokenizer learns from the captions of the training split; None: all there are, at most 4096."""

    @property
    def groups(self) -> str:
        return f"ingestion.together={self.together!r}" if self.together else super().groups

    @model_validator(mode="after")
    def _is_complete(self) -> "PairsIngestion":
        if self.source == "pairs" and not self.path:
            raise ValueError(f"path={self.path!r}, expected ingestion.path to be set for the source pairs")
        for name in ("path", "together"):
            if self.source != "pairs" and (given := getattr(self, name)):
                raise ValueError(f"{name}={given!r}, expected none for the source {self.source}: it is of source=pairs")
        if self.together and self.group:
            raise ValueError(f"together={self.together!r} and group={self.group!r}, expected one of both")
        return self


class PairAugmentation(Augmentation):
    """The recipe of an image's view, and how much of a caption is read."""

    caption_length: Annotated[int, Field(ge=4, le=512)] = 32
    """Tokens of a caption that a step eats; what is beyond is left out."""

    def captions_of(self, data_digest: str, order: str) -> dict[str, Any]:
        """All that decides the cached captions, as JSON values; `order`: which pair is in which row."""
        return {"data_digest": data_digest, "order": order, "caption_length": self.caption_length}

    def crops_of(self, data_digest: str, order: str) -> dict[str, Any]:
        """All that decides the cached crops and captions, as JSON values."""
        return super().crops_of(data_digest, order) | self.captions_of(data_digest, order)


class PairPretraining(Pretraining):
    """The loop, as for images, on two networks."""

    encoder: Literal[
        "small_resnet", "resnet18", "resnet34", "resnet50", "small_vit", "vit_tiny", "vit_small", "vit_base"
    ] = "small_resnet"
    """Of images."""
    text_encoder: Literal["tiny_transformer", "small_transformer", "base_transformer"] = "tiny_transformer"
    projection_dim: Count = 128
    """P, of the space that both share."""


class PairEvaluation(Evaluation):
    """The pinned protocol, and how a class is put into words."""

    prompts: Annotated[tuple[Name, ...], Field(strict=False, min_length=1)] = ("{}",)
    """Texts in which {} stands for a class; a class is the mean over them."""

    @model_validator(mode="after")
    def _prompts_name_the_class(self) -> "PairEvaluation":
        for prompt in self.prompts:
            if "{}" not in prompt:
                raise ValueError(f"prompts={list(self.prompts)}, expected {{}} in each, where the class stands")
        return self
