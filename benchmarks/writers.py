"""Measures raw pixels of scikit-learn's digits where train and test digits are of different writers.

    python benchmarks/writers.py

The file lists the digits of one writer after another, without names. The project's split follows from the content of
each image, so that a writer's digits are in train and in test. Here the last fifth of the file is the test split, and
the tenth before it the validation split.
"""

import numpy as np
from sklearn.datasets import load_digits

from unlabeled.config import Evaluation
from unlabeled.evaluation.probe import Labels, measure


def main() -> None:
    pixels, targets = load_digits(return_X_y=True)
    train, validation, test = np.split(np.arange(len(targets)), [int(0.7 * len(targets)), int(0.8 * len(targets))])
    numbers, _ = measure((pixels / 16).astype(np.float32), Labels(targets, train, validation, test), Evaluation())
    few = numbers["few_label"]["1"]
    print(
        f"raw pixels, {len(test)} test images: linear probe {numbers['linear_probe_accuracy']:.1%}, kNN "
        f"{numbers['knn_accuracy']:.1%}, one label a class {few['mean']:.1%} ± {few['std']:.1%}"
    )


if __name__ == "__main__":
    main()
