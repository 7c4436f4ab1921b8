"""Ingestion of captioned images into an array of images, a manifest with their captions, and a tokenizer."""

import hashlib
import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from unlabeled.images import ingest as images
from unlabeled.pairs.config import PairsIngestion
from unlabeled.pairs.sources import open_pairs
from unlabeled.records import Summary
from unlabeled.runtime.counts import counted
from unlabeled.text.tokens import train_tokenizer

logger = logging.getLogger(__name__)


class Ingested(NamedTuple):
    """The results of ingestion: as for images, with the column `text` in the manifest, and the tokenizer as its own
    JSON."""

    images: np.ndarray
    manifest: pd.DataFrame
    quarantine: pd.DataFrame
    summary: Summary
    tokenizer: str


def ingest(config: PairsIngestion, folder: Path) -> Ingested:
    """Reads images as `images.ingest.ingest` does, with their captions; images without a caption are quarantined.

    Raises:
        DataError, ConfigError: As for images; or the vocabulary is larger than the captions allow.
    """
    source, captions = open_pairs(config)
    found = images.ingest(config, folder, source)
    manifest = found.manifest.assign(text=[captions[path] for path in found.manifest.path])
    tokenizer = train_tokenizer(manifest.text[manifest.split == "train"], config)
    lines = [found.summary["data_digest"], tokenizer.to_str(), *sorted(manifest.sha256 + manifest.text)]
    summary: Summary = {
        **found.summary,
        "captions": int(manifest.text.nunique()),
        "vocabulary": tokenizer.get_vocab_size(),
        "data_digest": hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16],
    }
    told = counted(summary["captions"], "different captions"), counted(summary["vocabulary"], "tokens")
    logger.info("%s; %s in the vocabulary", *told)
    return Ingested(found.images, manifest, found.quarantine, summary, tokenizer.to_str())
