"""Weights that a training starts from: where they are read from, and what they bring with them."""

import json
import socket
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlparse
from urllib.request import getproxies

import torch
from safetensors.torch import load_file
from torch import Tensor

from unlabeled.catalogue import NETWORKS
from unlabeled.encoders import read_encoder
from unlabeled.errors import ConfigError, DataError
from unlabeled.images.efficientnet_lite import packaged_file, timms_keys
from unlabeled.images.encoder import ImageEncoder
from unlabeled.images.start import Start

PRETRAINED, HUB, REGISTRY = "pretrained", "hf-hub:", "models:/"
OF_TIMM = ("resnet18", "resnet34", "resnet50")
"""Networks of ours whose weights have the keys of timm's model of the same name."""
WRAPPERS = ("state_dict", "model")
"""Keys under which files of other projects hold the weights."""
PARALLEL = "module."
"""Prefix of every key in a file that was saved by torch's data parallel training."""
OTHERWISE = (
    "name a file that lies on this machine (.safetensors, or a .pth of tensors alone), or take "
    "pretraining.encoder=tf_efficientnet_lite0, whose weights come with `make setup`"
)


def read_start(weights: str, architecture: str) -> Start:
    """Reads the weights that `pretraining.weights` names.

    Args:
        weights: `pretrained`, a file, a folder, or `hf-hub:` with the name of a repository.
        architecture: Value of `pretraining.encoder`.

    Raises:
        ConfigError: There are no such weights, or they cannot be read without running code of others.
    """
    if weights == PRETRAINED:
        start = _published(architecture)
    elif weights.startswith(HUB):
        start = _downloaded(weights, weights)
    elif weights.startswith(REGISTRY):
        raise ConfigError(
            f"pretraining.weights: received {weights!r}, a version of a registry, which only kedro run finds: name the "
            f"folder of its encoder instead"
        )
    else:
        start = _local(Path(weights), architecture)
    tensors = {key: _as_stored(tensor) for key, tensor in start.tensors.items()}
    if bad := [key for key, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise ConfigError(f"pretraining.weights: {start.name} holds numbers that are not finite, in {bad[0]}")
    return Start(start.name, tensors, start.mean, start.std)


def _as_stored(tensor: Tensor) -> Tensor:
    return (tensor.detach().float() if tensor.is_floating_point() else tensor.detach()).contiguous()


def _published(architecture: str) -> Start:
    """timm's own weights of this name: from an installed package, else from the network."""
    if architecture in NETWORKS and architecture not in OF_TIMM:
        raise ConfigError(
            f"pretraining.weights: there are no published weights of {architecture}: choose a model of timm as "
            f"pretraining.encoder, such as tf_efficientnet_lite0, or null as pretraining.weights"
        )
    from unlabeled.nn.backbones import check_name  # seconds to import

    plain = architecture.partition(".")[0]
    if file := packaged_file(plain):
        return _with_normalisation_of(plain, file.name, timms_keys(plain, _pickled(file)))
    try:
        check_name(architecture)
    except ValueError as error:
        raise ConfigError(f"pretraining.{error}") from error
    return _downloaded(architecture, f"timm's weights of {architecture}")


def _with_normalisation_of(architecture: str, name: str, tensors: dict[str, Tensor]) -> Start:
    import timm  # seconds

    found = timm.get_pretrained_cfg(architecture)
    return Start(name, tensors, found.mean, found.std) if found else Start(name, tensors)


def _downloaded(model: str, name: str) -> Start:
    import timm  # seconds

    try:
        with _from_the_cache_without_a_network():
            made = timm.create_model(model, pretrained=True)
    except Exception as error:  # timm, the hub's client and the network raise kinds of their own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"pretraining.weights: {name} cannot be downloaded ({reason:.200}): without a network, {OTHERWISE}"
        ) from error
    said: Any = made.pretrained_cfg
    return Start(name, made.state_dict(), tuple(said["mean"]), tuple(said["std"]))


@contextmanager
def _from_the_cache_without_a_network() -> Generator[None]:
    """Context in which the hub's client looks only into its cache where the hub's name cannot be resolved; otherwise it
    would try again for most of a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not (getproxies() or _resolves(constants.ENDPOINT))
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _resolves(url: str) -> bool:
    try:
        return bool(socket.getaddrinfo(urlparse(url).hostname, None))
    except OSError:
        return False


def _local(path: Path, architecture: str) -> Start:
    if path.is_dir():
        return _in_folder(path)
    if not path.is_file():
        raise ConfigError(
            f"pretraining.weights: received {str(path)!r}, which does not exist; expected null, {PRETRAINED}, a file, "
            f"a folder, {HUB}… or {REGISTRY}name@alias"
        )
    if path.suffix == ".safetensors" and path.with_suffix(".json").is_file():
        return _earlier(path)
    tensors = (_safetensors if path.suffix == ".safetensors" else _pickled)(path)
    if architecture in NETWORKS:
        return Start(path.name, tensors)
    return _with_normalisation_of(architecture, path.name, tensors)


def _in_folder(folder: Path) -> Start:
    """The encoder of an earlier run, or a model in the format of Hugging Face."""
    if (folder / "encoder.safetensors").is_file():
        return _earlier(folder / "encoder.safetensors")
    config, weights = folder / "config.json", folder / "model.safetensors"
    if not (config.is_file() and weights.is_file()):
        raise ConfigError(
            f"pretraining.weights: received {str(folder)!r}, expected a folder with encoder.safetensors and "
            f"encoder.json, or with config.json and model.safetensors"
        )
    try:
        said = json.loads(config.read_text())
        said = said.get("pretrained_cfg", said)
        mean, std = (tuple(map(float, said[key])) if key in said else None for key in ("mean", "std"))
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"pretraining.weights: {config} is not the configuration of a model ({error})") from error
    return Start(folder.name, _safetensors(weights), mean, std)


def _earlier(path: Path) -> Start:
    try:
        encoder = read_encoder(path)
    except DataError as error:
        raise ConfigError(f"pretraining.weights: {error}") from error
    if not isinstance(encoder, ImageEncoder):
        raise ConfigError(f"pretraining.weights: {path} is not an encoder of images")
    normalisation = encoder.normalisation
    name = f"{path.parent.name}/{path.name} ({encoder.architecture})"
    return Start(name, encoder.network.state_dict(), normalisation.mean, normalisation.std)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises kinds of its own
        raise ConfigError(f"pretraining.weights: {path} is damaged or truncated ({error}): fetch it again") from error


def _pickled(path: Path) -> dict[str, Tensor]:
    """The tensors in a file of torch, read without running what it may hold."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about pickles that it then refuses
            found = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ConfigError(
            f"pretraining.weights: {path} does not hold tensors alone, and unpickling the rest could run code of "
            f"others: save its tensors as .safetensors"
        ) from error
    except Exception as error:  # torch raises many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"pretraining.weights: {path} is damaged or truncated ({reason:.200}): fetch it again"
        ) from error
    for wrapper in WRAPPERS:
        found = found[wrapper] if isinstance(found, dict) and isinstance(found.get(wrapper), dict) else found
    tensors = (
        {key: value for key, value in found.items() if isinstance(value, Tensor)} if isinstance(found, dict) else {}
    )
    if not tensors:
        raise ConfigError(f"pretraining.weights: {path} holds no tensors by name")
    if all(key.startswith(PARALLEL) for key in tensors):
        tensors = {key.removeprefix(PARALLEL): tensor for key, tensor in tensors.items()}
    return tensors
