"""Draws the README's pictures, docs/views.png and docs/embedding.png, from the files of the last run of BYOL."""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
import yaml
from matplotlib import pyplot as plt
from sklearn.manifold import TSNE

from unlabeled.config import Augmentation
from unlabeled.encoders import load_encoder
from unlabeled.images.crops import open_views
from unlabeled.images.views import Views
from unlabeled.storage.arrays import open_array, replace_file

PROJECT = Path(__file__).resolve().parents[1]
DATA, DOCS = PROJECT / "data", PROJECT / "docs"
CACHED, FINISHED, SHOWN = 5, 4, 6
"""Numbers of cached crops and of finished views of each image, and of images in docs/views.png."""
COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999", "#000000", "#ee7733", "#009988"]
"""Colours that colour-blind people can distinguish (Paul Tol's bright and vibrant). Each class also has its digit."""


def main() -> None:
    matplotlib.use("agg")
    images = open_array(DATA / "02_intermediate/images.npy")
    manifest = pd.read_parquet(DATA / "02_intermediate/manifest.parquet")
    DOCS.mkdir(exist_ok=True)
    draw_views(images, manifest)
    draw_embedding(images, manifest)


def draw_views(images: np.ndarray, manifest: pd.DataFrame) -> None:
    """Draws one row an image: the image, some of its cached crops, and finished views as the network sees them."""
    cache = open_views(DATA / "05_model_input/crops")
    rows = np.flatnonzero(manifest.split == "train")[:SHOWN]
    encoder = load_encoder(DATA / "06_models/byol")
    finished = Views(
        cache,
        rows,
        recipe(),
        encoder.normalisation,
        count=FINISHED,
        batch_size=SHOWN,
        seed=0,
        device=torch.device("cpu"),
    )
    mean, std = encoder.normalisation.tensors()
    views = (
        (finished.batch(0)[0] * std[:, None, None] + mean[:, None, None]).clamp(0, 1).unflatten(0, (FINISHED, SHOWN))
    )
    order = finished.rows_of(0).tolist()
    columns = 1 + CACHED + FINISHED
    figure, axes = plt.subplots(SHOWN, columns, figsize=(0.62 * columns, 0.62 * SHOWN + 0.35), layout="compressed")
    for i, row in enumerate(order):
        shown = [images[row], *cache[row, :CACHED], *(255 * views[:, i]).byte().numpy()]
        for axis, picture in zip(axes[i], shown, strict=True):
            axis.imshow(picture.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255)
            axis.axis("off")
    titles = {0: "image", 1: "cached crops", 1 + CACHED: "finished views"}
    for column, title in titles.items():
        axes[0][column].set_title(title, fontsize=8, loc="left")
    save(figure, DOCS / "views.png")


def recipe() -> Augmentation:
    """The parameters of augmentation in the base environment."""
    return Augmentation.model_validate(
        yaml.safe_load((PROJECT / "conf/base/parameters.yml").read_text())["augmentation"]
    )


def draw_embedding(images: np.ndarray, manifest: pd.DataFrame) -> None:
    """Draws the test images by t-SNE, of raw pixels and of the encoder's embeddings."""
    test = np.flatnonzero(manifest.split == "test")
    features = open_array(DATA / "04_feature/byol.npy")[test]
    panels = {
        "raw pixels": images[test].reshape(len(test), -1) / 255.0,
        "BYOL encoder, trained without labels": features,
    }
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.4), layout="compressed")
    for axis, (title, points) in zip(axes, panels.items(), strict=True):
        places = TSNE(random_state=0, init="pca", perplexity=30).fit_transform(np.asarray(points, np.float32))
        for place, label, target in zip(places, manifest.label.iloc[test], manifest.target.iloc[test], strict=True):
            axis.text(*place, label, color=COLOURS[target % 10], fontsize=7, ha="center", va="center")
        axis.set(xlim=(places[:, 0].min() - 2, places[:, 0].max() + 2), xticks=[], yticks=[])
        axis.set_ylim(places[:, 1].min() - 2, places[:, 1].max() + 2)
        axis.set_title(f"{title} ({points.shape[1]} dimensions)", fontsize=9)
    save(figure, DOCS / "embedding.png")


def save(figure: plt.Figure, path: Path) -> None:
    replace_file(path, lambda partial: figure.savefig(partial, dpi=130))
    print(f"wrote {path.relative_to(PROJECT)}")


if __name__ == "__main__":
    main()
