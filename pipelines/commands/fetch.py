"""The image encoder of a registered version, for the commands that use one."""

from typing import Any, NamedTuple

from mlflow.tracking import MlflowClient

from pipelines.registry.versions import download, find
from unlabeled.errors import UnlabeledError


class Registered(NamedTuple):
    """A version's encoder, its probe (None: there were no labels), and the names of what that predicts."""

    version: str
    encoder: Any
    probe: Any
    classes: list[str]


def fetch(name: str, version: str) -> Registered:
    """The image encoder of a version, by its number or alias; of one with captions, that of its images.

    Raises:
        UnlabeledError: It cannot be had, or is of other data.
    """
    from unlabeled.downstream.serve import load_served
    from unlabeled.images.encoder import ImageEncoder  # imports torch

    found = find(MlflowClient(), name, version)
    served = load_served(download(found))
    encoder = getattr(served.encoder, "first", served.encoder)
    if not isinstance(encoder, ImageEncoder):
        raise UnlabeledError(f"{name} version {found.version} is no encoder of images, which is expected here")
    return Registered(str(found.version), *served._replace(encoder=encoder))
