"""The blocks of parameters for text whose keys differ from those for images."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from unlabeled.config import (
    NO_LABELS,
    Block,
    Count,
    Expression,
    Fraction,
    LabelColumn,
    Location,
    Name,
    Pretraining,
    check_fractions,
    data_set_name,
)


class TextIngestion(Block):
    """Where documents come from, how they are cut into passages, and how they are tokenized."""

    block: ClassVar[str] = "ingestion"
    source: Literal["topics", "text"] = "topics"
    """Source of the documents. `topics`: CPython's own help topics, always available; `text`: a file or a folder of
    UTF-8 text, or tables with a column of texts."""
    path: Location = None
    """File or folder of the source `text`. The first folder below it that a file is in is the file's label. In tables
    (CSV, TSV, JSON lines, Parquet), each row is a document."""
    text: Name | None = None
    """The column of texts in tables; None: the one with a usual name, or the only one that holds sentences."""
    label: LabelColumn = None
    documents: Literal["file", "heading"] = "file"
    """Unit of a document: a whole file, or the text under a heading line `= Title =` or `# Title`."""
    group: Expression = None
    """A regular expression on the names of documents, which makes groups as for images. None: the passages of a
    document form a group."""
    passage: Annotated[int, Field(ge=50)] = 600
    """Least number of characters of the passages that are embedded and probed. Passages end at line ends, and a shorter
    rest stays with the passage before it."""
    tokenizer: Literal["wordpiece", "bpe"] = "bpe"
    vocabulary: Annotated[int, Field(ge=300, le=65_536)] = 4096
    """Number of tokens that the tokenizer learns from the training split."""
    validation_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2
    """Fractions drawn by content for validation and test, each only where there is no official split of that name, from
    documents that are in none."""
    max_quarantined: Fraction = 0.05
    max_characters: Count = 10_000_000
    """Longer documents are quarantined: the memory of tokenizing grows with the longest document."""

    @property
    def name(self) -> str:
        """Name of the data set in results and in the registry."""
        return data_set_name(self.path, self.source) if self.source == "text" else self.source

    @model_validator(mode="after")
    def _is_complete(self) -> "TextIngestion":
        check_fractions(self.validation_fraction, self.test_fraction, "documents")
        if self.source == "text" and not self.path:
            raise ValueError(f"path={self.path!r}, expected ingestion.path to be set for the source text")
        if self.source == "topics" and self.text:
            raise ValueError(f"text={self.text!r}, expected null for the source topics: it has no columns")
        if self.source == "topics" and (self.label or NO_LABELS).lower() != NO_LABELS:
            raise ValueError(f"label={self.label!r}, expected null or {NO_LABELS} for the source topics")
        return self


class Packing(Block):
    """How tokens are packed into the sequences of a step."""

    block: ClassVar[str] = "augmentation"
    sequence_length: Annotated[int, Field(ge=8, le=4096)] = 128
    """Tokens of a sequence; methods with pairs use two sequences at once."""

    def sequences_of(self, data_digest: str) -> dict[str, Any]:
        """Everything that decides the cached sequences, as JSON values."""
        return {"data_digest": data_digest, **self.model_dump(mode="json")}


class TextPretraining(Pretraining):
    """The training loop, as for images, for a transformer."""

    starts_from_weights: ClassVar[bool] = False
    encoder: Literal["tiny_transformer", "small_transformer", "base_transformer"] = "tiny_transformer"
    epochs: Count = 20
