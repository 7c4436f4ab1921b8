"""Fine-tuning of a pretrained encoder with a classifier on top, beside the same network from scratch."""

import copy
import math

import numpy as np
import pandas as pd
import torch

from unlabeled.config import Augmentation, Finetuning, Pretraining
from unlabeled.encoders import untrained
from unlabeled.errors import TrainingError
from unlabeled.evaluation.probe import Labels, draw_labels, mean_and_std
from unlabeled.images.encoder import ImageEncoder
from unlabeled.images.views import Views
from unlabeled.methods.supervised import Supervised
from unlabeled.training.devices import choose_device
from unlabeled.training.loop import pretrain


def finetune(
    encoder: ImageEncoder, images: np.ndarray, manifest: pd.DataFrame, config: Finetuning, recipe: Augmentation
) -> dict[str, dict[str, dict[str, float]]]:
    """Test accuracy of the pretrained encoder and of the same network from scratch, by labels a class.

    Both see the same labels in the same order, the same views and the same number of steps.

    Args:
        images: uint8 of shape (N, C, H, W).
        manifest: Its columns `target` and `split` are used.
        recipe: Augmentation of the views, which are cropped afresh.

    Returns:
        By labels a class ("1", "all"), the `finetuned` and `from_scratch` accuracies: `mean` and `std` over the draws.

    Raises:
        TrainingError: There are too few labels to learn from or to test on, the encoder is of other images, or a
            training diverged.
    """
    labels = Labels.of(manifest)
    if not labels.suffice():
        raise TrainingError("finetune needs labels: two classes in the train split, and some in the test split")
    if reason := encoder.misfit(images):
        raise TrainingError(f"the encoder {reason}: run the pipeline {config.method} on them first")
    recipe = recipe.model_copy(update={"crop_size": encoder.image_size})
    results = {}
    for setting in config.labels:
        right: dict[str, list[np.ndarray]] = {"finetuned": [], "from_scratch": []}
        for draw in range(config.draws):
            rows = labels.train
            if setting != "all":
                rows = draw_labels(labels, setting, np.random.default_rng([config.seed, draw]))
            seed = config.seed + draw
            starts = {"finetuned": copy.deepcopy(encoder), "from_scratch": untrained(encoder, seed)}
            for start, network in starts.items():
                right[start].append(_train_and_test(network, images, labels, rows, seed, config, recipe))
        results[str(setting)] = {
            start: mean_and_std([float(each.mean()) for each in draws]) | labels.effective(np.mean(draws, 0))
            for start, draws in right.items()
        }
    return results


def _train_and_test(
    encoder: ImageEncoder,
    images: np.ndarray,
    labels: Labels,
    rows: np.ndarray,
    seed: int,
    config: Finetuning,
    recipe: Augmentation,
) -> np.ndarray:
    """Whether the trained network is right about each test image, bool (N,)."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        method = Supervised(encoder.network, classes=int(labels.targets.max()) + 1)
    batch_size = min(config.batch_size, len(rows))
    views = Views(
        images,
        rows,
        recipe,
        encoder.normalisation,
        count=1,
        batch_size=batch_size,
        seed=seed,
        device=choose_device(config.device),
        targets=labels.targets,
    )
    epochs = math.ceil(config.steps / views.steps_per_epoch)
    loop = Pretraining(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_epochs=epochs / 10,
        seed=seed,
        device=config.device,
    )
    pretrain(method, views, loop)
    with torch.no_grad():
        features = torch.from_numpy(encoder.embed(images[labels.test]))
        predictions = method.head.cpu()(features).argmax(1).numpy()
    return predictions == labels.targets[labels.test]
