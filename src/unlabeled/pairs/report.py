"""What the page of a run on captioned images has beside that of images: what is found for a text, and for an image."""

from typing import Any

from unlabeled.page import Section, Table, Tiles, percent
from unlabeled.pairs.retrieval import CUTS
from unlabeled.report import ImageEvidence

NAMES = {"text_to_image": "an image for a text", "image_to_text": "a text for an image"}
TEXTS = 3
"""Shown for an image."""
KINDS = {"chance": "by chance", "bag_of_words": "by words and pixels"}


def retrieval(evidence: ImageEvidence, shown: dict[str, list[list[int]]]) -> Section | None:
    """Recall beside its baselines, and grids of what is found for some of the test split."""
    found = evidence.metrics["retrieval"]
    if not found:
        return None
    zero = evidence.metrics["zero_shot_accuracy"]
    lead = (
        f"Put into words, the right class is the nearest for {zero:.1%} of the test images." if zero is not None else ""
    )
    blocks = [_recalls(found), _images(evidence, shown["text_to_image"]), _texts(evidence, shown["image_to_text"])]
    return Section("What it finds", blocks, lead, layout="wide")


def _recalls(found: dict[str, Any]) -> Table:
    kinds = {"": found, **{f", {KINDS[name]}": numbers for name, numbers in found["baselines"].items()}}
    rows = [
        [words + kind, *(percent(each[name][f"recall_at_{k}"]) for k in CUTS)]
        for name, words in NAMES.items()
        for kind, each in kinds.items()
    ]
    caption = (
        "How often what belongs to it is found in the test split, %. By words and pixels: the nearest training caption "
        "lends its image, the nearest training image its caption."
    )
    return Table(["finding", *(f"among the first {k}" for k in CUTS)], rows, caption, True)


def _images(evidence: ImageEvidence, found: list[list[int]]) -> Tiles:
    lines = [
        (_text(evidence, query), [evidence.tile(row, "", _mark(evidence, query, row)) for row in rows])
        for query, *rows in found
    ]
    return Tiles(lines, "For each caption the images found for it, the nearest first; those that have it are marked.")


def _texts(evidence: ImageEvidence, found: list[list[int]]) -> Tiles:
    tiles = []
    for query, *rows in found:
        texts = " · ".join(_text(evidence, row) for row in rows[:TEXTS])
        tiles.append(evidence.tile(query, texts, _mark(evidence, query, rows[0])))
    caption = "For each image the captions found for it, the nearest first; marked where that is its own."
    return Tiles([("", tiles)], caption, large=True)


def _text(evidence: ImageEvidence, row: int) -> str:
    return evidence.manifest.text.iat[row]


def _mark(evidence: ImageEvidence, query: int, row: int) -> str:
    return "right" if _text(evidence, query) == _text(evidence, row) else ""
