"""Figures of results, in colours that colour-blind people can distinguish (Paul Tol's bright), each with its own
mark."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from unlabeled.config import in_words

BLUE, RED, GREEN, GREY = "#4477aa", "#ee6677", "#228833", "#bbbbbb"
MARKS = {"o": BLUE, "s": RED, "D": GREEN}


def draw_leaderboard(board: pd.DataFrame) -> Figure:
    """Draws each method's accuracy with the fewest labels (± std over draws), by kNN and by linear probe, in rows.

    Args:
        board: Columns `method`, `status`, `linear_probe_accuracy`, `knn_accuracy`, and `few_label_<setting>` with its
            `_std` where there were labels. Rows without numbers are left out.
    """
    few = next((name for name in board.columns if name.startswith("few_label")), None)
    names = {few: in_words(few.removeprefix("few_label_"))} if few else {}
    names |= {"knn_accuracy": "kNN", "linear_probe_accuracy": "linear probe"}
    board = board.dropna(subset=list(names), how="all").iloc[::-1].reset_index(drop=True)
    figure = Figure(figsize=(8, 1.6 + 0.32 * len(board)), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1), dpi=150)
    axes = figure.add_subplot()
    axes.hlines(board.index, 0, 100, color=GREY, linewidth=0.5, zorder=0)
    for above, ((name, label), (mark, colour)) in enumerate(zip(names.items(), MARKS.items(), strict=False)):
        spread = 100 * board[f"{name}_std"] if f"{name}_std" in board else None
        style: dict[str, Any] = {"fmt": mark, "color": colour, "markersize": 6, "capsize": 3, "zorder": 9 - above}
        axes.errorbar(100 * board[name].astype(float), board.index, xerr=spread, label=label, **style)
    axes.set_yticks(board.index, board.method)
    axes.set_xlim(0, 101)
    axes.set_xlabel("accuracy on the test split, %")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure
