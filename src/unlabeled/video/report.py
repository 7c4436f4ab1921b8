"""The page of a run on clips: the sections of every page, and clips with the sounds that are found for them."""

from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from unlabeled.evaluation.retrieval import CUTS
from unlabeled.reports import sections as shared
from unlabeled.reports.page import Section, Table, Tile, Tiles, percent, picture, render
from unlabeled.video.evidence import VideoEvidence
from unlabeled.video.sound import log_mel

DIRECTIONS = {"video_to_sound": "a sound for a video", "sound_to_video": "a video for a sound", "chance": "by chance"}
SHOWN_FRAMES = 4
"""Number of frames of a clip that are shown."""
SHOWN_DEVIATIONS = 3.0
"""Standard deviations on either side of the mean that a spectrogram's greys cover."""


def build_report(evidence: VideoEvidence) -> str:
    """The page as HTML."""
    with threadpool_limits(torch.get_num_threads()):
        curves = shared.curves_of(evidence)
        sections = [
            _together(evidence),
            shared.label_efficiency(evidence, curves),
            shared.feature_findings(evidence, curves),
            *(make(evidence, curves) for make in (shared.training, shared.data, shared.provenance)),
        ]
    verdict, facts = shared.verdict_of(evidence, curves), shared.facts(evidence)
    return render(evidence.title, verdict, facts, [section for section in sections if section])


def _together(evidence: VideoEvidence) -> Section | None:
    """Correspondence and retrieval of videos and sounds, in numbers and pictures."""
    metrics = evidence.metrics
    if not metrics["retrieval"]:
        return None
    told = metrics["correspondence_accuracy"]
    lead = (
        f"Whether a sound belongs to a video is told right for {told:.1%} of test clips with their own sound or "
        f"another's (by chance 50 %)."
        if told is not None
        else ""
    )
    rows = [
        [words, *(percent(metrics["retrieval"][name][f"recall_at_{k}"]) for k in CUTS)]
        for name, words in DIRECTIONS.items()
    ]
    found = Table(["finding its own", *(f"among the first {k}" for k in CUTS)], rows, "Of test clips, %.", True)
    return Section("What belongs together", [found, *_sounds(metrics["sound"]), _clips(evidence)], lead, layout="wide")


def _sounds(measured: dict[str, Any]) -> list[Table]:
    if not measured:
        return []
    kinds = {"this encoder's sounds": measured, "spectrograms alone": measured["baselines"]["spectrogram"]}
    rows = [
        [
            name,
            *(percent(each["mean"]) for each in kind["few_label"].values()),
            percent(kind["linear_probe_accuracy"]),
        ]
        for name, kind in kinds.items()
    ]
    header = ["sounds", *(f"labels: {setting}" for setting in measured["few_label"]), "all labels"]
    return [Table(header, rows, "The classes told by the sound alone: accuracy on test clips, %.", True)]


def _clips(evidence: VideoEvidence) -> Tiles:
    lines = []
    for query, *rows in evidence.shown:
        frames = evidence.frames[query]
        some = np.linspace(0, len(frames) - 1, min(SHOWN_FRAMES, len(frames))).round().astype(int)
        shown = [Tile(picture(frame), "a frame") for frame in frames[some]]
        shown += [_spectrogram(evidence, row, "right" if row == query else "") for row in rows]
        lines.append((evidence.name_of(query), shown))
    caption = (
        "Frames of a test clip, and the sounds that are found for it, the nearest first, as spectrograms with their "
        "class: time runs to the right, pitch upwards; its own is marked."
    )
    return Tiles(lines, caption)


def _spectrogram(evidence: VideoEvidence, row: int, mark: str) -> Tile:
    (bands,) = log_mel(evidence.sounds[row : row + 1], evidence.summary["rate"], evidence.augmentation)
    grey = (127.5 * (bands[None, ::-1] / SHOWN_DEVIATIONS + 1)).clip(0, 255).astype(np.uint8)
    return Tile(picture(grey), f"the sound of clip {row}", evidence.name_of(row), mark)
