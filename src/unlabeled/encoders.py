"""A network together with everything needed to use it without this project's pipelines."""

import hashlib
import json
import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unlabeled.catalogue import ENCODERS
from unlabeled.errors import DataError
from unlabeled.ingestion.walk import read_file
from unlabeled.nn.network import Network
from unlabeled.storage.arrays import replace_file
from unlabeled.storage.freshness import is_other
from unlabeled.storage.intact import DIGEST, check_weights, digest_of_weights

Encoder = TypeVar("Encoder", bound="Saved")
ALLOCATING_FUNCTIONS = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.eye, torch.arange}
"""Torch functions that allocate the tensors of a network."""
EXTRA_NUMBERS = 2**24
"""Numbers that a network may hold in addition to its weights."""
MAX_SPEC_BYTES = 2**26
"""Largest size of an encoder's .json in bytes; it may contain a tokenizer."""


class Saved:
    """An encoder of any kind of data that is saved as two files."""

    network: Network

    @property
    def feature_dim(self) -> int:
        """Dimensions of an embedding (D)."""
        return self.network.feature_dim

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.network.parameters()).device

    def embed(self, data: Any, /) -> np.ndarray:
        """Features of N rows of data, float32 (N, D), with the network in eval mode."""
        raise NotImplementedError

    def misfit(self, data: Any, /) -> str | None:
        """The reason why the encoder cannot embed these data, in words that follow its name; None where it can."""
        raise NotImplementedError

    def spec(self) -> dict[str, Any]:
        """The arguments of `of` as JSON values; its `kind` is in `catalogue.ENCODERS`."""
        raise NotImplementedError

    @classmethod
    def of(cls, spec: dict[str, Any]) -> Self:
        """A new encoder of this spec with random weights."""
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Writes `<path>` (safetensors, the network's own keys) and `<path>` with the ending `.json`, its `spec` and a
        digest of both."""
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        text = json.dumps({**self.spec(), DIGEST: _digest(self)}, indent=2) + "\n"
        replace_file(path, lambda partial: save_file(weights, partial))
        replace_file(path.with_suffix(".json"), lambda partial: partial.write_text(text))

    @torch.no_grad()
    def in_batches(self, data: np.ndarray, prepare: Callable[[np.ndarray], Tensor], batch_size: int) -> np.ndarray:
        """Features of N rows of data, float32 (N, D), in eval mode; `prepare` turns rows into the network's input."""
        features = np.empty((len(data), self.feature_dim), np.float32)
        with evaluating(self.network):
            for start in range(0, len(data), batch_size):
                rows = slice(start, start + batch_size)
                features[rows] = self.network(prepare(data[rows])).cpu().numpy()
        return features


@contextmanager
def evaluating(network: nn.Module) -> Generator[None]:
    """Context in which a network is in eval mode; its earlier mode is restored afterwards."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def encoder_of(spec: dict[str, Any]) -> Saved:
    """An encoder of the kind and spec given, with random weights."""
    module, _, name = ENCODERS[spec.get("kind", "image")].partition(":")
    return getattr(import_module(module), name).of(spec)


def untrained(encoder: Encoder, seed: int) -> Encoder:
    """A copy of the encoder with random weights, on the same device, in eval mode."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        fresh = encoder.of(encoder.spec())
    fresh.network.to(encoder.device).eval()
    return fresh


def weights_digest(encoder: Saved) -> str:
    """Digest of all weights, 16 hexadecimal digits, as the records of trainings and versions hold it."""
    return digest_of_weights({name: tensor.cpu().numpy() for name, tensor in encoder.network.state_dict().items()})


def _digest(encoder: Saved) -> str:
    spec = json.dumps(encoder.spec(), sort_keys=True)
    return hashlib.sha256(f"{spec} {weights_digest(encoder)}".encode()).hexdigest()[:16]


class _Bounded(TorchFunctionMode):
    """Context that raises ValueError where a network would hold more than `most` numbers, before memory is
    allocated."""

    def __init__(self, most: int):
        super().__init__()
        self.most = self.left = most

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if func in ALLOCATING_FUNCTIONS:
            shape = args[0] if args and isinstance(args[0], list | tuple) else args
            self.left -= math.prod(shape) ** (2 if func is torch.eye else 1)
            if self.left < 0:
                raise ValueError(f"a network of more than the {self.most:,} numbers that its weights may have")
        return func(*args, **(kwargs or {}))


def read_encoder(path: Path) -> Saved:
    """Reads the encoder, of any kind, in `<path>` and its .json.

    Raises:
        DataError: The files are missing, damaged or of different networks.
    """
    path = Path(path)
    try:
        spec = json.loads(read_file(path.with_suffix(".json"), MAX_SPEC_BYTES))
        with _Bounded(path.stat().st_size + EXTRA_NUMBERS):  # each number takes at least one byte
            encoder = encoder_of(spec)
        encoder.network.load_state_dict(load_file(path), strict=True)
        if is_other(_digest(encoder), spec.get(DIGEST)):
            raise ValueError("their digest is another than when they were saved")
    except Exception as error:  # safetensors and tokenizers raise their own kinds, json and torch theirs
        raise DataError(f"{path} and its .json are not a saved encoder ({error!s:.300}): train it again") from error
    encoder.network.to(memory_format=torch.channels_last).eval()
    return encoder


def load_encoder(folder: str | Path, weights: str | None = None, remedy: str = "train it again") -> Saved:
    """Loads the encoder in `data/06_models/<method>`; its `embed` turns uint8 images, or texts, into features.

    Args:
        weights: Expected digest of the weights, from a record; None: they are not compared.
        remedy: Advice that ends the error message where the weights differ.

    Raises:
        DataError: The files are missing, damaged, of different networks, or of another training.
    """
    path = Path(folder) / "encoder.safetensors"
    if weights is not None:
        check_weights(path, weights, remedy)
    return read_encoder(path)
