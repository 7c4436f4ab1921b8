"""The page of a run on images: verdict, examples, mistakes, and how to reproduce it."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from unlabeled.evaluation import diagnosis
from unlabeled.evaluation.diagnosis import Finding
from unlabeled.evaluation.probe import nearest
from unlabeled.images.evidence import ImageEvidence
from unlabeled.images.saliency import smooth_gradients
from unlabeled.images.views import Views
from unlabeled.reports import charts
from unlabeled.reports.page import (
    Block,
    Map,
    Section,
    Tile,
    Tiles,
    picture,
    render,
    sprite,
)
from unlabeled.reports.sections import (
    Curves,
    Rules,
    curves_of,
    data,
    facts,
    findings_section,
    label_efficiency,
    provenance,
    rules_of_features,
    training,
    verdict_of,
)
from unlabeled.runtime.counts import counted
from unlabeled.storage.arrays import spread

MAX_MAPPED_IMAGES = 600
"""Largest number of images on the map."""
MAX_CLUSTERED_IMAGES = 5_000
"""Largest number of images that are clustered."""
SHOWN_QUERIES, SHOWN_NEIGHBOURS = 3, 4
"""Number of images whose neighbours are shown, and of neighbours for each."""
SHOWN_CONFUSIONS, CONFUSED_IMAGES = 6, 5
"""Number of class pairs whose confusions are shown, and largest number of images for each."""
CENTRAL_IMAGES = 5
"""Number of images shown for a cluster."""
AUGMENTED_IMAGES, SHOWN_VIEWS = 3, 5
"""Number of images whose crops and views are shown, and of crops and views for each."""
SALIENCY_IMAGES = 10
"""Number of images whose saliency is shown."""


def tile(evidence: ImageEvidence, row: int, caption: str | None = None, mark: str = "") -> Tile:
    """An image with its class, or another caption, below it."""
    name = evidence.name_of(row)
    alt = f"image {row}, {evidence.manifest.split.iat[row]}{', ' if name else ''}{name}"
    return Tile(picture(evidence.images[row]), alt, name if caption is None else caption, mark)


def build_report(evidence: ImageEvidence, first: Sequence[Section] = ()) -> str:
    """The page as HTML; `first` are sections before all others."""
    with threadpool_limits(torch.get_num_threads()):
        curves = curves_of(evidence)
        sections = [*first, *(section for make in SECTIONS if (section := make(evidence, curves)))]
    return render(evidence.title, verdict_of(evidence, curves), facts(evidence), sections)


def _findings(evidence: ImageEvidence, curves: Curves) -> Section:
    return findings_section(_of_images(evidence, curves), partial(_pictures_of, evidence))


def _of_images(evidence: ImageEvidence, curves: Curves) -> Rules:
    said = dict(rules_of_features(evidence, curves))
    yield from said.items()
    yield "leakage", diagnosis.leakage(evidence.features, evidence.images, evidence.manifest)
    if said["no gain"] is None:
        yield "label noise", diagnosis.label_noise(evidence.features, evidence.labels, evidence.summary["classes"])
    else:
        yield "label noise", diagnosis.Undecided("neighbours in this embedding are no better judges than its baselines")


def _pictures_of(evidence: ImageEvidence, finding: Finding) -> Tiles | None:
    if not finding.rows:
        return None
    lines = []
    for rows, words in finding.rows:
        lines.append(("", [tile(evidence, row, words if i == 0 else "") for i, row in enumerate(rows)]))
    return Tiles(lines)


def _views(evidence: ImageEvidence, curves: Curves) -> Section | None:
    """Images, some of their cached crops, and views as the network gets them."""
    rows = np.sort(_of_different_classes(evidence, evidence.rows_of("train"), AUGMENTED_IMAGES))
    fresh = evidence.augmentation.views == "fresh"
    if len(rows) < 2:
        return None
    store = evidence.images if fresh else evidence.views
    finished = _finished(evidence, store, rows)
    lines = []
    for i, row in enumerate(rows):
        crops = [] if fresh else [Tile(picture(crop), "a cached crop") for crop in evidence.views[row, :SHOWN_VIEWS]]
        views = [Tile(picture(view), "a finished view") for view in finished[i]]
        lines.append(("", [tile(evidence, row, mark="asked"), *crops, *views]))
    cached = "" if fresh else "some of its cached crops, and "
    count = len(finished[0])
    caption = f"An image, {cached}{count} views as the network gets them: cropped, moved and coloured at random."
    return Section("What the network sees", [Tiles(lines, caption)], layout="wide")


def _finished(evidence: ImageEvidence, store: np.ndarray, rows: np.ndarray) -> list[list[np.ndarray]]:
    normalisation, count = (
        evidence.encoder.normalisation,
        SHOWN_VIEWS if store.ndim == 4 else min(SHOWN_VIEWS, store.shape[1]),
    )
    supply = Views(
        store,
        rows,
        evidence.augmentation,
        normalisation,
        count=count,
        batch_size=len(rows),
        seed=0,
        device=torch.device("cpu"),
    )
    mean, std = (each[:, None, None] for each in normalisation.tensors())
    views = (255 * (supply.batch(0)[0] * std + mean)).clamp(0, 255).byte().unflatten(0, (count, -1)).numpy()
    place = {int(row): i for i, row in enumerate(supply.rows_of(0))}
    return [[view[place[int(row)]] for view in views] for row in rows]


def _of_different_classes(evidence: ImageEvidence, rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the rows, drawn at random: one of each class, then a second of each, and so on."""
    drawn = np.random.default_rng(0).permutation(rows)
    targets = evidence.manifest.target.iloc[drawn]
    return drawn[np.argsort(targets.groupby(targets).cumcount(), kind="stable")][:count]


def _examples(evidence: ImageEvidence, curves: Curves) -> Section | None:
    if not evidence.examples:
        return None
    rows = [(name, [Tile(picture(image), name) for image in row]) for name, row in evidence.examples.items()]
    kept = len(evidence.rows_of("validation"))
    caption = "Images of the validation split." if kept else "Images that it was trained on."
    return Section("What it makes of images", [Tiles(rows, caption)], layout="wide")


def _mistakes(evidence: ImageEvidence, curves: Curves) -> Section | None:
    """The confusion matrix, and images of the most frequent confusions."""
    if evidence.probe is None:
        return None
    names, answers = evidence.summary["classes"], evidence.predictions
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (answers.target, answers.predicted), 1)
    per_class = counts.diagonal() / np.maximum(1, counts.sum(1))
    there = np.flatnonzero(counts.sum(1))
    blocks: list[Block] = [
        charts.per_class([names[i] for i in there], per_class[there], counts.sum(1)[there]),
        charts.confusion_matrix(names, counts),
    ]
    wrong = counts - np.diag(counts.diagonal())
    lines = []
    for flat in np.argsort(-wrong, axis=None, kind="stable")[:SHOWN_CONFUSIONS]:
        target, said = divmod(int(flat), len(names))
        if wrong[target, said]:
            these = answers[(answers.target == target) & (answers.predicted == said)].nlargest(
                CONFUSED_IMAGES, "confidence"
            )
            sure = zip(these.row, these.confidence, strict=True)
            tiles = [tile(evidence, row, f"{confidence:.0%} sure") for row, confidence in sure]
            times = "once" if wrong[target, said] == 1 else f"{wrong[target, said]} times"
            lines.append((f"{names[target]} taken for {names[said]}, {times}", tiles))
    if lines:
        blocks.append(Tiles(lines, "The most frequent confusions, the surest answers first."))
    lead = "Answers of the linear probe, which learned from all labels."
    return Section("Where it fails", blocks, lead)


def _neighbours(evidence: ImageEvidence, curves: Curves) -> Section | None:
    """The training images nearest to random test images, and to the probe's most confident mistakes."""
    chosen = _of_different_classes(evidence, evidence.test, SHOWN_QUERIES)
    train = np.setdiff1d(evidence.rows_of("train"), chosen)  # without a test split they are training images
    blocks = [_neighbour_rows(evidence, chosen, train, f"{evidence.tested.capitalize()} drawn at random.")]
    answers = evidence.predictions
    worst = answers[answers.target != answers.predicted].nlargest(SHOWN_QUERIES, "confidence")
    if len(worst):
        said = [evidence.summary["classes"][target] for target in worst.predicted]
        caption = "Test images that the linear probe is most surely wrong about."
        blocks.append(_neighbour_rows(evidence, worst.row.to_numpy(), train, caption, said))
    lead = "An image in a frame; then the training images nearest to it, with their cosine similarity"
    if evidence.summary["classes"]:
        lead += ": underlined where they are of its class, dashed where they are not"
    return Section("Nearest neighbours", blocks, f"{lead}.")


def _neighbour_rows(
    evidence: ImageEvidence, queries: np.ndarray, bank: np.ndarray, caption: str, said: list[str] | None = None
) -> Tiles:
    similarities, found = nearest(evidence.features, queries, bank, SHOWN_NEIGHBOURS)
    lines = []
    for i, (query, rows, near) in enumerate(zip(queries, found, similarities, strict=True)):
        name, tiles = evidence.name_of(query), [tile(evidence, query, mark="asked")]
        for row, similarity in zip(rows, near, strict=True):
            mark = ("right" if evidence.name_of(row) == name else "wrong") if name and evidence.name_of(row) else ""
            tiles.append(tile(evidence, row, f"{evidence.name_of(row)} {similarity:.2f}".strip(), mark))
        lines.append((f"taken for {said[i]}" if said else "", tiles))
    return Tiles(lines, caption)


def _map(evidence: ImageEvidence, curves: Curves) -> Section | None:
    rows = spread(evidence.test, MAX_MAPPED_IMAGES)
    if len(rows) < 10:
        return None
    from sklearn.manifold import TSNE  # a second to import

    features = evidence.features[rows]
    if (features == features[0]).all():  # a map of one point
        return None
    features = (features - features.mean(0)) / (features.std(0) + 1e-6)
    perplexity = min(30, (len(rows) - 1) / 3)
    places = TSNE(max_iter=500, perplexity=perplexity, init="pca", random_state=0).fit_transform(features)
    low, high = places.min(0), places.max(0)
    places = (places - low) / np.maximum(high - low, 1e-12)
    targets = evidence.manifest.target.to_numpy()[rows]
    there = np.unique(targets)
    names = [evidence.summary["classes"][target] if target >= 0 else "without a label" for target in there]
    pictures, columns, lines = sprite([evidence.images[row] for row in rows])
    said = dict(zip(evidence.predictions.row, evidence.predictions.predicted, strict=True))
    words = [_words(evidence, row, said.get(row)) for row in rows]
    caption = (
        f"{len(rows)} {evidence.tested}, laid out by t-SNE (perplexity {perplexity:.0f}) so that what the encoder "
        f"finds alike lies close; distances between groups mean little. Point at one, or walk with the arrow keys."
    )
    groups = np.searchsorted(there, targets).tolist()
    drawn = Map(places.round(4).tolist(), groups, names, words, pictures, columns, lines, caption)
    return Section("A map of the embedding", [drawn], layout="wide")


def _words(evidence: ImageEvidence, row: int, said: int | None) -> str:
    name = evidence.name_of(row) or f"image {row}"
    taken = "" if said is None else evidence.summary["classes"][said]
    return f"{name}, taken for {taken}" if taken and taken != name else name


def _clusters(evidence: ImageEvidence, curves: Curves) -> Section | None:
    """Clusters of similar images, with the most central images of each; shown for data without labels."""
    if evidence.probe is not None:
        return None
    from sklearn.cluster import KMeans  # a second to import

    rows = spread(evidence.rows_of("train"), MAX_CLUSTERED_IMAGES)
    features = evidence.features[rows]
    features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    clusters = min(10, len(np.unique(features, axis=0)))
    fitted = KMeans(clusters, n_init=3, random_state=0).fit(features)
    distances, lines = fitted.transform(features), []
    for cluster in np.argsort(-np.bincount(fitted.labels_), kind="stable"):
        members = np.flatnonzero(fitted.labels_ == cluster)
        central = members[np.argsort(distances[members, cluster], kind="stable")][:CENTRAL_IMAGES]
        lines.append((counted(len(members), "images"), [tile(evidence, rows[i], "") for i in central]))
    caption = (
        f"k-means with {counted(len(lines), 'clusters')} of {counted(len(rows), 'training images')}; in each, the most "
        f"central ones first."
    )
    return Section("What it takes to be alike", [Tiles(lines, caption)], layout="wide")


def _saliency(evidence: ImageEvidence, curves: Curves) -> Section:
    rows = np.sort(_of_different_classes(evidence, evidence.test, SALIENCY_IMAGES))
    images = evidence.images[rows]
    maps = smooth_gradients(evidence.encoder, images, evidence.probe)
    looks = [Tile(picture((255 * each).astype(np.uint8)[None]), "where it looks") for each in maps]
    lines = [("", [tile(evidence, row), look]) for row, look in zip(rows, looks, strict=True)]
    of = "the class that the linear probe says" if evidence.probe is not None else "the length of the feature vector"
    caption = f"Bright beside an image: pixels whose change moves {of} most (SmoothGrad, arXiv:1706.03825)."
    return Section("Where it looks", [Tiles(lines, caption)], layout="wide")


SECTIONS: tuple[Callable[[ImageEvidence, Curves], Section | None], ...] = (
    *(label_efficiency, _mistakes, _examples, _neighbours, _map, _clusters, _saliency, _findings, _views, training),
    *(data, provenance),
)
"""Sections in the order of the page, the most wanted first."""
