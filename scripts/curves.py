"""Draws the curves of a training from its history, which a run writes to data/08_reporting/<method>/history.csv.

python scripts/curves.py docs/byol_cifar10.csv docs/byol_cifar10.png
"""

import argparse
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib import pyplot as plt

SHOWN = {"loss": "loss", "knn_accuracy": "kNN, validation split", "rankme": "RankMe"}
"""Columns of the history that are drawn, and their titles."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("history", type=Path, help="a CSV file with a row an epoch")
    parser.add_argument("picture", type=Path, help="a PNG file to write")
    options = parser.parse_args()
    matplotlib.use("agg")
    history = pd.read_csv(options.history)
    figure, axes = plt.subplots(1, len(SHOWN), figsize=(10, 2.6), layout="constrained")
    for axis, (column, name) in zip(axes, SHOWN.items(), strict=True):
        rows = history.dropna(subset=[column])
        axis.plot(rows.epoch, rows[column], color="#4477aa", marker="." if len(rows) < len(history) else "")
        axis.set(title=name, xlabel="epoch")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(options.picture, dpi=120)


if __name__ == "__main__":
    main()
