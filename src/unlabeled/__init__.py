"""Self-supervised learning for people with many images and few labels.

`unlabeled` is the substance: ingestion, augmentation, methods, the training loop and the measurements. It needs torch
and the libraries of numbers and files, and neither Kedro nor MLflow nor DVC: their wiring is the package `pipelines`.

One legend holds everywhere: N images, K cached views, V views a step, B batch, C channels, H and W pixels, D features,
P projection.
"""

__version__ = "0.1.0"
