"""Loads the image encoder of a registered version, for the commands that use one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.tracking import MlflowClient

from pipelines.registry.versions import download, find
from unlabeled.errors import UnlabeledError

if TYPE_CHECKING:  # both import torch
    from unlabeled.downstream.model import LoadedModel
    from unlabeled.images.encoder import ImageEncoder


def fetch(name: str, version: str) -> LoadedModel[ImageEncoder]:
    """The image model of a version, named by number or alias; for captioned images, the image tower.

    Raises:
        UnlabeledError: The version cannot be fetched, or does not encode images.
    """
    from unlabeled.downstream.model import LoadedModel, load_model
    from unlabeled.encoders import Saved
    from unlabeled.images.encoder import ImageEncoder  # imports torch

    found = find(MlflowClient(), name, version)
    model = load_model(download(found), Saved)
    encoder = getattr(model.encoder, "first", model.encoder)
    if not isinstance(encoder, ImageEncoder):
        raise UnlabeledError(f"{name} version {found.version} does not encode images, expected an encoder of images")
    return LoadedModel(encoder, model.probe, model.classes, name, str(found.version))
