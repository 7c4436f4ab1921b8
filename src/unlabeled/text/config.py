"""The blocks of parameters whose keys are others for text than for images."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from unlabeled.config import Block, Count, Expression, Fraction, Location, Pretraining, check_fractions


class TextIngestion(Block):
    """Where documents come from, how they are cut into passages, and what a token is."""

    block: ClassVar[str] = "ingestion"
    source: Literal["topics", "text"] = "topics"
    """`topics`: CPython's own help topics, always there; `text`: a file or a folder of UTF-8 text."""
    path: Location = None
    """The file or folder of the source `text`. The first folder below it that a file is in is its label."""
    documents: Literal["file", "heading"] = "file"
    """What a document is: a file, or what follows a line `= Title =` or `# Title`."""
    group: Expression = None
    """A regular expression on the names of documents, as for images. None: passages of a document belong together."""
    passage: Annotated[int, Field(ge=50)] = 600
    """Characters, at least, of the passages that are embedded and probed; they end where a line does, and a shorter
    rest stays with the passage before it."""
    tokenizer: Literal["wordpiece", "bpe"] = "bpe"
    vocabulary: Annotated[int, Field(ge=300, le=65_536)] = 4096
    """Tokens that the tokenizer learns from the training split."""
    validation_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2
    """Shares drawn by content, where there is no such official split, of the documents that are in none."""
    max_quarantined: Fraction = 0.05
    max_characters: Count = 10_000_000
    """Longer documents are quarantined: the memory of tokenizing grows with the longest."""

    @property
    def name(self) -> str:
        """What results and the registry call the source."""
        return self.source

    @model_validator(mode="after")
    def _is_complete(self) -> "TextIngestion":
        check_fractions(self.validation_fraction, self.test_fraction, "documents")
        if self.source == "text" and not self.path:
            raise ValueError(f"path={self.path!r}, expected ingestion.path to be set for the source text")
        return self


class Packing(Block):
    """How tokens are packed into the sequences that a step eats."""

    block: ClassVar[str] = "augmentation"
    sequence_length: Annotated[int, Field(ge=8, le=4096)] = 128
    """Tokens a sequence; a method that eats pairs sees two of them at once."""

    def sequences_of(self, data_digest: str) -> dict[str, Any]:
        """All that decides the cached sequences, as JSON values."""
        return {"data_digest": data_digest, **self.model_dump(mode="json")}


class TextPretraining(Pretraining):
    """The loop, as for images, on a transformer."""

    # ty: ignore[incompatible-attribute-override]: the loop reads no name of an encoder
    encoder: Literal["tiny_transformer", "small_transformer", "base_transformer"] = "tiny_transformer"
    epochs: Count = 20
