"""The page of a run on captioned images: retrieval between texts and images, then the sections of images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from unlabeled.evaluation.retrieval import CUTS
from unlabeled.images import report as of_images
from unlabeled.images.report import tile
from unlabeled.pairs.evidence import PairEvidence
from unlabeled.reports.page import Section, Table, Tiles, percent

DIRECTION_NAMES = {"text_to_image": "an image for a text", "image_to_text": "a text for an image"}
SHOWN_TEXTS = 3
"""Number of texts shown for an image."""
BASELINE_NAMES = {"chance": "by chance", "bag_of_words": "by words and pixels"}


def build_report(evidence: PairEvidence) -> str:
    """The page as HTML."""
    found = retrieval(evidence)
    return of_images.build_report(evidence, [found] if found else [])


def retrieval(evidence: PairEvidence) -> Section | None:
    """Recall beside its baselines, and examples of retrieval on the test split."""
    found = evidence.metrics["retrieval"]
    if not found:
        return None
    zero, told = evidence.metrics["zero_shot_accuracy"], []
    if zero is not None:
        told.append(f"Put into words, the right class is the nearest for {zero:.1%} of the test images.")
    least = smallest_loss(evidence.manifest.text[evidence.manifest.split == "train"], evidence.pretraining.batch_size)
    if least >= 0.005:
        told.append(f"As images of a batch share captions, no encoder brings the loss of training below {least:.2f}.")
    lead = " ".join(told)
    shown = evidence.shown
    blocks = [_recalls(found), _images(evidence, shown["text_to_image"]), _texts(evidence, shown["image_to_text"])]
    return Section("What it finds", blocks, lead, layout="wide")


def smallest_loss(captions: Sequence[str], batch_size: int) -> float:
    """The loss, in nats, of an encoder that distinguishes all captions but not the images that share one.

    If n images of a batch share a caption, each of them is found with probability 1 / n; log n is averaged over random
    batches.
    """
    sharing = np.unique(captions, return_counts=True)[1]
    others = np.random.default_rng(0).hypergeometric(
        sharing - 1, sharing.sum() - sharing, min(batch_size, sharing.sum()) - 1, (1000, len(sharing))
    )
    return float(np.average(np.log1p(others).mean(0), weights=sharing))


def _recalls(found: dict[str, Any]) -> Table:
    kinds = {"": found, **{f", {BASELINE_NAMES[name]}": numbers for name, numbers in found["baselines"].items()}}
    rows = [
        [words + kind, *(percent(each[name][f"recall_at_{k}"]) for k in CUTS)]
        for name, words in DIRECTION_NAMES.items()
        for kind, each in kinds.items()
    ]
    caption = (
        "How often what belongs to it is found in the test split, %. By words and pixels: the nearest training caption "
        "lends its image, the nearest training image its caption."
    )
    return Table(["finding", *(f"among the first {k}" for k in CUTS)], rows, caption, True)


def _images(evidence: PairEvidence, found: list[list[int]]) -> Tiles:
    lines = [
        (_text(evidence, query), [tile(evidence, row, "", _mark(evidence, query, row)) for row in rows])
        for query, *rows in found
    ]
    return Tiles(lines, "For each caption the images found for it, the nearest first; those that have it are marked.")


def _texts(evidence: PairEvidence, found: list[list[int]]) -> Tiles:
    tiles = []
    for query, *rows in found:
        texts = " · ".join(_text(evidence, row) for row in rows[:SHOWN_TEXTS])
        tiles.append(tile(evidence, query, texts, _mark(evidence, query, rows[0])))
    caption = "For each image the captions found for it, the nearest first; marked where that is its own."
    return Tiles([("", tiles)], caption, large=True)


def _text(evidence: PairEvidence, row: int) -> str:
    return " ".join(evidence.manifest.text.iat[row].split())  # in one line


def _mark(evidence: PairEvidence, query: int, row: int) -> str:
    texts = evidence.manifest.text
    return "right" if texts.iat[query] == texts.iat[row] else ""
