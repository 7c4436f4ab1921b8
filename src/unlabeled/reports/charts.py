"""Charts of a run as SVG, in the colours of the page, and readable without distinguishing colours."""

import io
import re
import warnings
import zlib
from collections.abc import Sequence
from os.path import commonprefix
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.typing import RcKeyType

from unlabeled.evaluation.verdict import Accuracy
from unlabeled.reports.page import Chart
from unlabeled.runtime.counts import counted
from unlabeled.runtime.legible import legible

SERIES = (("#4477aa", "o", "-"), ("#d9596a", "s", "--"), ("#228833", "D", "-."), ("#9a6fb0", "^", ":"))
SERIES += (("#b8860b", "v", (0, (5, 1, 1, 1))), ("#2a9d9d", "P", (0, (1, 1))))
"""Colour, mark and dashes of each series. Colours have a contrast of at least 3 : 1 on white and on near-black."""
INK, FAINT = "#010203", "#040506"
"""Placeholders for the page's own colours, which change with its theme."""
STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "unlabeled",
    "text.parse_math": False,  # a class may be named $5
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8.5,
    **{key: INK for key in ("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor")},
    **{key: FAINT for key in ("axes.edgecolor", "xtick.color", "ytick.color", "grid.color")},
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.6,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
}
CURVE_TITLES = {
    "loss": "loss",
    "knn_accuracy": "kNN accuracy on validation, %",
    "embedding_std": "standard deviation of the embedding",
    "rankme": "RankMe, effective dimensions",
    "alignment": "distance of two views (alignment)",
    "momentum": "momentum τ of the target",
    "learning_rate": "learning rate",
    "validation_loss": "loss on validation",
    "images_per_second": "images a second",
    "sequences_per_second": "sequences a second",
    "pairs_per_second": "pairs a second",
    "clips_per_second": "clips a second",
}
"""Titles of the curves of a training, in order; other columns of its history follow under their own names."""
NOT_CURVES = {"epoch", "seconds"}
MAX_SHOWN_CLASSES = 20
"""Largest number of classes that a chart shows."""


def label_efficiency(curves: dict[str, list[Accuracy]], unit: str = "images") -> Chart:
    """Accuracy over labels a class, with bands, for each kind of features; the first is the encoder."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _axes(5.6, 3.3, "labels a class (logarithmic)", "accuracy on test, %")
        for (name, points), (colour, mark, dashes) in zip(curves.items(), _cycle(len(curves)), strict=True):
            x, mean = [p.labels for p in points], [100 * p.mean for p in points]
            low, high = [100 * p.low for p in points], [100 * p.high for p in points]
            width = 2.2 if name == next(iter(curves)) else 1.4
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(x, mean, color=colour, marker=mark, linestyle=dashes, markersize=5, linewidth=width, label=name)
        ticks = sorted({point.labels for points in curves.values() for point in points})
        _logarithmic(axes, ticks)
        axes.set_ylim(0, 101)
        figure.legend(loc="outside upper left", ncols=min(3, len(curves)), frameon=False)
        first, last = next(iter(curves.values()))[0], next(iter(curves.values()))[-1]
        said = f"{next(iter(curves))}: {first} with {first.setting}, {last} with {last.setting}"
        return _chart(
            figure,
            f"Accuracy over labels a class. {said}.",
            "Bands: mean ± standard deviation over draws of the labels, no narrower than the 95 % interval that the "
            f"number of test {unit} leaves; at the right end all labels, with that interval.",
        )


def training_curves(history: pd.DataFrame) -> list[Chart]:
    """A chart for each column of a training's history, over epochs."""
    columns = [name for name in CURVE_TITLES if name in history]
    others = (name for name in history if not name.startswith("untrained_"))
    columns += [name for name in others if name not in {*CURVE_TITLES, *NOT_CURVES}]
    return [_curve(history, name) for name in columns if history[name].notna().sum() > 1]


def _curve(history: pd.DataFrame, name: str) -> Chart:
    rows = history.dropna(subset=[name])
    values = 100 * rows[name] if name == "knn_accuracy" else rows[name]
    title = CURVE_TITLES.get(name, name.replace("_", " "))
    with matplotlib.rc_context(STYLE):
        figure, axes = _axes(3.0, 1.9, "epoch", "")
        axes.set_title(title)
        sparse = len(rows) < 25
        axes.plot(rows.epoch, values, color=SERIES[0][0], linewidth=1.6, marker="o" if sparse else None, markersize=4)
        if f"untrained_{name}" in history:
            untrained = history[f"untrained_{name}"].dropna()
            if len(untrained):
                axes.axhline(untrained.iloc[-1], color=SERIES[1][0], linestyle="--", linewidth=1.2)
                beside = axes.get_yaxis_transform()
                axes.text(1.01, untrained.iloc[-1], "untrained", transform=beside, fontsize=8, va="center")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        if name == "knn_accuracy":
            axes.set_ylim(min(90, 10 * (values.min() // 10)), 100)
        elif values.min() >= 0 and name not in ("alignment", "momentum"):
            axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
        first, last = values.iloc[0], values.iloc[-1]
        return _chart(figure, f"{title}, from {first:.3g} after epoch {rows.epoch.iloc[0]} to {last:.3g} at the end.")


def per_class(names: Sequence[str], accuracies: np.ndarray, counts: np.ndarray) -> Chart:
    """Accuracy of each class in ascending order, for at most the MAX_SHOWN_CLASSES worst classes."""
    order = np.argsort(accuracies, kind="stable")[:MAX_SHOWN_CLASSES][::-1]
    with matplotlib.rc_context(STYLE):
        figure, axes = _axes(5.6, 0.9 + 0.21 * len(order), "accuracy of the linear probe on test, %", "")
        axes.hlines(range(len(order)), 0, 100 * accuracies[order], color=SERIES[0][0], linewidth=2)
        axes.plot(100 * accuracies[order], range(len(order)), "o", color=SERIES[0][0], markersize=6)
        shown = _abbreviated([names[i] for i in order], 24)
        axes.set_yticks(range(len(order)), [f"{name} ({counts[i]})" for name, i in zip(shown, order, strict=True)])
        axes.set_xlim(0, 102)
        axes.set_ylim(-0.7, len(order) - 0.3)
        axes.grid(False, axis="y")
        worst = order[-1]
        return _chart(
            figure,
            f"Accuracy of each class; the worst is {names[worst]} with {100 * accuracies[worst]:.0f} %.",
            "In brackets: test images of the class."
            + (f" The {MAX_SHOWN_CLASSES} worst classes." if len(names) > MAX_SHOWN_CLASSES else ""),
        )


def confusion_matrix(names: Sequence[str], counts: np.ndarray) -> Chart:
    """Confusion matrix of at most 20 classes, those with the most errors: counts (C, C), with true classes in rows."""
    errors = counts.sum(1) + counts.sum(0) - 2 * counts.diagonal()
    kept = np.sort(np.argsort(-errors, kind="stable")[:MAX_SHOWN_CLASSES])
    counts, names = counts[np.ix_(kept, kept)], [names[i] for i in kept]
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    with matplotlib.rc_context(STYLE):
        figure, axes = _axes(5.6, min(1.8 + 0.3 * len(kept), 4.6), "what the probe said", "what it is")
        axes.grid(False)
        axes.pcolormesh(shares, cmap=_tint(), vmin=0, vmax=1, edgecolors=FAINT, linewidth=0.3, snap=True)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = "white" if shares[row, column] > 0.55 else INK
                axes.text(column + 0.5, row + 0.5, f"{count:.0f}", ha="center", va="center", color=colour, fontsize=8)
        centres, turned = np.arange(len(kept)) + 0.5, max(map(len, names)) > 3
        short = _abbreviated(names, 16)
        axes.set_xticks(centres, short, rotation=60 if turned else 0, ha="right" if turned else "center")
        axes.set_yticks(centres, short)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        wrong = int(counts.sum() - counts.trace())
        return _chart(
            figure,
            f"Confusion matrix of {counted(len(names), 'classes')}: {wrong} of {int(counts.sum())} test images are "
            f"told wrong.",
            "Test images by class; the tint is their share of the row."
            + (f" The {MAX_SHOWN_CLASSES} classes with the most errors." if len(errors) > MAX_SHOWN_CLASSES else ""),
        )


def accuracy_and_seconds(
    points: Sequence[tuple[str, float, float, float, float]], twins: Sequence[float | None] = ()
) -> Chart:
    """A row for each method: its accuracy with the fewest labels, and the seconds of its training beside it.

    Args:
        points: Name, seconds, mean, low and high of each method.
        twins: Accuracy of each method's untrained network; None: unknown.
    """
    order = sorted(range(len(points)), key=lambda i: -points[i][2])[::-1]  # the best is on top
    rows = range(len(order))
    names, seconds, mean, low, high = zip(*(points[i] for i in order), strict=True)
    mean, low, high = (100 * np.array(each) for each in (mean, low, high))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 1.2 + 0.21 * len(order)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
        bars = np.vstack([np.maximum(0, mean - low), np.maximum(0, high - mean)])
        style: dict[str, Any] = {"color": SERIES[0][0], "elinewidth": 0.9, "markersize": 5}
        left.errorbar(mean, rows, xerr=bars, fmt="o", label="trained", **style)
        if any(twin is not None for twin in twins):
            untrained = np.array([twins[i] for i in order], float)  # None becomes NaN, which is not drawn
            left.plot(100 * untrained, rows, "s", color=SERIES[1][0], markersize=4, fillstyle="none", label="untrained")
            figure.legend(loc="outside upper left", ncols=2, frameon=False)
        left.set_yticks(rows, _abbreviated(names, 24))
        left.set_xlim(0, 101)
        left.set_xlabel("accuracy with the fewest labels, %")
        spent = np.maximum(seconds, 0.1)
        right.plot(spent, rows, "o", color=SERIES[0][0], markersize=4)
        for row, each in zip(rows, spent, strict=True):
            told = f"{each:,.0f}" if each >= 10 else f"{each:.1f}"
            right.annotate(told, (each, row), (6, 0), textcoords="offset points", va="center", fontsize=8)
        right.set_xscale("log")
        right.set_xlim(spent.min() / 2, 2 * spent.max() * (spent.max() / spent.min()) ** 0.8)  # leaves room for numbers
        right.xaxis.set_major_locator(FixedLocator([]))
        right.xaxis.set_minor_locator(NullLocator())
        right.set_xlabel("seconds")
        for axes in (left, right):
            axes.set_axisbelow(True)
            axes.set_ylim(-0.7, len(order) - 0.3)
        said = f"Accuracy and seconds of training; the best is {names[-1]} with {mean[-1]:.0f} %."
        return _chart(figure, said, "Seconds of training, on a logarithmic scale.")


def _axes(width: float, height: float, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _logarithmic(axes: Axes, ticks: list[float]) -> None:
    axes.set_xscale("log")
    kept: list[float] = []
    for tick in ticks:  # ticks that would overlap are merged
        if not kept or tick > 1.5 * kept[-1]:
            kept.append(tick)
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:.2g}"))


def _abbreviated(names: Sequence[str], most: int) -> list[str]:
    """Names shortened to leave room for the chart: to both ends, or to the parts that differ."""
    names = [legible(name) for name in names]
    short = [_shortened(name, most) for name in names]
    if len(set(short)) == len(set(names)):
        return short
    start, end = len(commonprefix(names)), len(commonprefix([name[::-1] for name in names]))
    return [_shortened(f"…{name[start : len(name) - end]}…", most) for name in names]


def _shortened(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 7]}…{name[-6:]}"


def _cycle(count: int) -> list:
    return [SERIES[i % len(SERIES)] for i in range(count)]


def _tint() -> matplotlib.colors.Colormap:
    """A colour map from transparent to blue, for light and dark pages."""
    return matplotlib.colors.LinearSegmentedColormap.from_list("tint", [(0.27, 0.47, 0.67, 0), (0.2, 0.4, 0.62, 1)])


def _chart(figure: Figure, alt: str, caption: str = "") -> Chart:
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # The browser draws text, in its own fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = svg.replace(INK, "currentColor").replace(FAINT, "var(--line)")
    # Ids must be unique on a page with several charts.
    prefix = f"c{zlib.crc32(svg.encode()):x}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}", svg)
    return Chart(Markup(svg), alt, caption)
