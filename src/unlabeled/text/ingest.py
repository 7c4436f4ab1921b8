"""Ingestion of documents into passages in a manifest, and a tokenizer trained on the training split."""

import hashlib
import logging
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from tokenizers import Tokenizer

from unlabeled.errors import DataError
from unlabeled.ingestion.contents import contents_of, tell_contents
from unlabeled.ingestion.groups import Grouper, divided_groups, groups_of, named_groups
from unlabeled.ingestion.splits import SplitRule
from unlabeled.records import Summary
from unlabeled.runtime.counts import counted
from unlabeled.text.config import TextIngestion
from unlabeled.text.sources import Document, is_blank, read_documents
from unlabeled.text.tokens import train_tokenizer

logger = logging.getLogger(__name__)

MIN_COPIED_CHARACTERS = 60
"""Number of characters from which a paragraph in two documents counts as a copy rather than a coincidence."""


class Ingested(NamedTuple):
    """The results of ingestion.

    Attributes:
        manifest: One row for each passage: `path` and `number` in its document, `sha256`, `text`, `characters`,
            `group` (rows of one group belong together), `label`, `target` (-1: none), `split`.
        tokenizer: The tokenizer as the library's own JSON.
    """

    manifest: pd.DataFrame
    quarantine: pd.DataFrame
    summary: Summary
    tokenizer: str


def ingest(config: TextIngestion) -> Ingested:
    """Reads all documents, keeps each paragraph once, splits by content, and trains the tokenizer.

    Raises:
        DataError, ConfigError: Too few documents, too many that cannot be used, too large a vocabulary.
    """
    source = read_documents(config)
    read = list(source.items)
    documents, rejects = _without_copies(document for document in read if not document.reason)
    rejects = [(document.path, document.reason) for document in read if document.reason] + rejects
    quarantine = pd.DataFrame(rejects, columns=["path", "reason"])
    unusable = sum(bool(document.reason) for document in read)
    if unusable > config.max_quarantined * len(read):
        raise DataError(
            f"{unusable} of {counted(len(read), 'documents')} cannot be used (the first, {rejects[0][0]}: "
            f"{rejects[0][1]}), more than ingestion.max_quarantined={config.max_quarantined:g} allows"
        )
    if len(documents) < 2:
        raise DataError(
            f"found {len(documents) or 'no'} document, and needs two at least to hold one back: give ingestion.path a "
            f"folder of files, or set ingestion.documents=heading to cut a file at its headings"
        )
    rule = SplitRule(source.understood.official, config.validation_fraction, config.test_fraction)
    grouper = Grouper(config.group)
    groups = {document.path: grouper.group_of(document.path) for document in documents}
    # By the whole document: if copied paragraphs counted, a document could change its split when others are added.
    digests = {document.path: hashlib.sha256(document.text.encode()).hexdigest() for document in read}
    splits = {each.path: rule.split_of(digests[each.path], each.split, groups[each.path]) for each in documents}
    manifest, classes = _manifest(documents, config, splits, groups)
    tokenizer = train_tokenizer(texts_of(manifest, "train"), config)
    by = f"ingestion.group={config.group!r}" if config.group else "documents"
    warnings = grouper.warnings() + divided_groups(manifest, by)
    summary: Summary = {
        **_summary(manifest, quarantine, classes, config, tokenizer),
        **groups_of(manifest, by, "passages"),
        **contents_of(manifest.drop_duplicates("path"), classes, source.understood, str(rule), warnings),
    }
    logger.info(
        "%s: %s in %s (%s); %d quarantined; %s in the vocabulary",
        summary["source"],
        *(counted(summary[unit], unit) for unit in ("documents", "passages")),
        ", ".join(f"{count:,} {split}" for split, count in summary["splits"].items()),
        summary["quarantined"],
        counted(summary["vocabulary"], "tokens"),
    )
    tell_contents(summary, source.understood.left_out, "documents")
    return Ingested(manifest, quarantine, summary, tokenizer.to_str())


def texts_of(manifest: pd.DataFrame, split: str) -> list[str]:
    """The documents of a split, each rejoined from its passages."""
    rows = manifest[manifest.split == split]
    return ["\n".join(passages) for _, passages in rows.groupby("path", sort=False).text]


def passages_of(text: str, least: int) -> list[str]:
    """A text cut at line ends into passages of at least `least` characters, not counting blank lines.

    A shorter rest stays with the passage before it, so only a shorter text makes a shorter passage. Passages joined by
    line ends are the text again.
    """
    passages, lines, size = [], [], 0
    for line in text.split("\n"):
        lines.append(line)
        size += 0 if is_blank(line) else len(line) + 1
        if size > least:
            passages.append("\n".join(lines))
            lines, size = [], 0
    if passages and lines:
        lines = [passages.pop(), *lines]
    return [*passages, "\n".join(lines)] if lines else passages


def _without_copies(documents: Iterable[Document]) -> tuple[list[Document], list[tuple[str, str]]]:
    """Keeps each paragraph once, in the shortest document that has it: none is trained on and tested
    (arXiv:2107.06499).

    Official test documents keep theirs, then official validation documents. Documents that become empty are returned
    with the reason.
    """
    seen: set[str] = set()
    kept, rejects = [], []
    first = {"test": 0, "validation": 1}
    for document in sorted(documents, key=lambda each: (first.get(each.split, 2), len(each.text), each.path)):
        fresh = []
        for paragraph in document.text.split("\n\n"):
            words = " ".join(paragraph.split())
            if len(words) < MIN_COPIED_CHARACTERS or words not in seen:
                fresh.append(paragraph)
            seen.add(words)
        text = "\n\n".join(fresh)
        if not is_blank(text):
            kept.append(document._replace(text=text))
        else:
            rejects.append((document.path, "all of it stands in other documents"))
    return sorted(kept, key=lambda each: each.path), rejects


def _manifest(
    documents: list[Document], config: TextIngestion, splits: dict[str, str], groups: dict[str, str | None]
) -> tuple[pd.DataFrame, list[str]]:
    """One row for each passage, and the classes; splits and groups are those of the documents, by path."""
    records = []
    for document in documents:
        shared = groups[document.path] or document.path, document.label, splits[document.path]
        for number, text in enumerate(passages_of(document.text, config.passage)):
            digest = hashlib.sha256(text.encode()).hexdigest()
            records.append((document.path, number, digest, text, len(text), *shared))
    columns = ["path", "number", "sha256", "text", "characters", "group", "label", "split"]
    manifest = pd.DataFrame(records, columns=columns)
    missing = [split for split in ("train", "validation", "test") if not (manifest.split == split).any()]
    if "train" in missing:
        raise DataError(
            f"none of {counted(len(documents), 'documents')} falls into the train split: add documents, or lower "
            f"ingestion.test_fraction and ingestion.validation_fraction"
        )
    classes = sorted(manifest.label.dropna().unique())
    numbers = {label: number for number, label in enumerate(classes)}
    manifest["target"] = manifest.label.map(numbers).fillna(-1).astype(np.int64)
    return manifest, classes


def _summary(
    manifest: pd.DataFrame,
    quarantine: pd.DataFrame,
    classes: list[str],
    config: TextIngestion,
    tokenizer: Tokenizer,
) -> Summary:
    lines = manifest.path + manifest.sha256 + manifest.split + manifest.label.fillna("")
    lines += named_groups(manifest, config.group)
    digest = hashlib.sha256("\n".join([tokenizer.to_str(), *lines]).encode()).hexdigest()
    return {
        "source": config.name,
        "documents": manifest.path.nunique(),
        "passages": len(manifest),
        "characters": int(manifest.characters.sum()),
        "labelled": int((manifest.target >= 0).sum()),
        "quarantined": len(quarantine),
        "splits": {split: int(count) for split, count in manifest.split.value_counts().sort_index().items()},
        "classes": classes,
        "tokenizer": config.tokenizer,
        "vocabulary": tokenizer.get_vocab_size(),
        "data_digest": digest[:16],
    }
