"""The start of a training from given weights: which tensors fit, what is adapted, and what stays random."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
from torch import Tensor, nn

from unlabeled.errors import ConfigError
from unlabeled.images.encoder import ImageEncoder
from unlabeled.nn.normalisation import Normalisation
from unlabeled.runtime.counts import counted
from unlabeled.storage.intact import digest_of_weights

MIN_MATCHED = 0.9
"""Smallest fraction of an encoder's tensors that weights have to hold."""
COUNTER = "num_batches_tracked"
"""Ending of the keys that count the steps of BatchNorm; older files lack them."""
MAX_NAMED = 3
"""Largest number of tensors that a message names."""


MISFITS = (KeyError, AttributeError, RuntimeError, ValueError, IndexError, TypeError, AssertionError)
"""Errors of timm's conversion of keys for weights of another architecture."""


@dataclass(frozen=True)
class Start:
    """Weights that a training starts from.

    Attributes:
        name: Where they are from, in words.
        tensors: The weights by their keys, as they were read.
        mean, std: The normalisation that they were trained with, a number for each channel; None: not known.
    """

    name: str
    tensors: Mapping[str, Tensor]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def digest(self) -> str:
        """Digest of all weights, 16 hexadecimal digits."""
        return digest_of_weights({key: tensor.numpy() for key, tensor in self.tensors.items()})

    def normalisation(self, of_data: Normalisation) -> Normalisation:
        """The normalisation of the weights, for as many channels as the data have; that of the data if it is not
        known."""
        if self.mean is None or self.std is None:
            return of_data
        channels = len(of_data.mean)
        return replace(of_data, mean=for_channels(self.mean, channels), std=for_channels(self.std, channels))


def for_channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """A number for each of the channels: the mean of all for one channel, else repeated in turn."""
    if channels == 1:
        return (float(np.mean(values)),)
    return tuple(values[channel % len(values)] for channel in range(channels))


@dataclass(frozen=True)
class Match:
    """Weights as they fit a network.

    Attributes:
        tensors: The tensors to load, by the network's keys and of its shapes.
        adapted: What was changed in them, in words.
        missing: Keys of the network that the weights lack, without counters.
        unused: Keys of the weights that the network lacks.
        count: Number of the network's tensors, without counters.
    """

    tensors: dict[str, Tensor]
    adapted: list[str]
    missing: list[str]
    unused: list[str]
    count: int

    def sentence(self, name: str) -> str:
        """What matched, what was adapted and what was left, in one line."""
        parts = [f"{self.count - len(self.missing)} of {counted(self.count, 'tensors')} matched"]
        if self.adapted:
            parts.append(f"adapted: {', '.join(self.adapted)}")
        if self.missing:
            parts.append(f"left random: {_named(self.missing)}")
        if self.unused:
            parts.append(f"not used: {_named(self.unused)}")
        return f"start from {name}: {'; '.join(parts)}"


def match(network: nn.Module, architecture: str, start: Start) -> Match:
    """Fits weights to a network, which may be on the meta device and is not changed.

    Raises:
        ConfigError: The weights hold less than MIN_MATCHED of the network's tensors.
    """
    from timm.models import adapt_input_conv  # seconds to import

    wanted = {key: tensor.shape for key, tensor in network.state_dict().items()}
    tensors, adapted = _by_timm(network, start)
    for key in _first_convolutions(network, wanted):
        weight = tensors.get(key)
        if weight is not None and weight.ndim == 4 and weight.shape[1] != wanted[key][1]:
            channels, before = wanted[key][1], weight.shape[1]
            tensors[key] = adapt_input_conv(channels, weight, before)
            adapted.append(f"{key} from {before} to {counted(channels, 'channels')}")
    fitting = {key: tensor for key, tensor in tensors.items() if wanted.get(key) == tensor.shape}
    counted_keys = [key for key in wanted if not key.endswith(COUNTER)]
    missing = [key for key in counted_keys if key not in fitting]
    if 1 - len(missing) / len(counted_keys) < MIN_MATCHED:
        raise ConfigError(
            f"pretraining.weights: {start.name} holds {len(counted_keys) - len(missing)} of the "
            f"{counted(len(counted_keys), 'tensors')} of pretraining.encoder={architecture}, expected "
            f"{MIN_MATCHED:.0%} at least: they are of another architecture (missing: {_named(missing)})"
        )
    unused = [key for key in tensors if key not in wanted]
    return Match(fitting, adapted, missing, unused, len(counted_keys))


def started(encoder: ImageEncoder, start: Start) -> ImageEncoder:
    """An encoder with the network of this one, which gets the weights, and the normalisation of the weights."""
    network, architecture = encoder.network, encoder.architecture
    found = match(network, architecture, start)
    network.load_state_dict(found.tensors, strict=False)  # `match` has counted what is missing
    normalisation = start.normalisation(encoder.normalisation)
    return ImageEncoder(architecture, encoder.channels, encoder.image_size, normalisation, network)


def _by_timm(network: Any, start: Start) -> tuple[dict[str, Tensor], list[str]]:
    """The weights after timm's own conversion of keys and positions, and what it changed."""
    if not _is_of_timm(network):
        return dict(start.tensors), []
    convert: Any = getattr(import_module(type(network.model).__module__), "checkpoint_filter_fn", None)
    if convert is None:
        return dict(start.tensors), []
    try:
        converted = convert(dict(start.tensors), network.model)
    except MISFITS:  # weights of another architecture; they are counted as they are
        return dict(start.tensors), []
    changed = [key for key in converted if key in start.tensors and converted[key].shape != start.tensors[key].shape]
    return converted, [
        f"{key} from {'×'.join(map(str, start.tensors[key].shape))} to {'×'.join(map(str, converted[key].shape))}"
        for key in changed
    ]


def _is_of_timm(network: nn.Module) -> bool:
    from unlabeled.nn.backbones import Backbone  # seconds to import

    return isinstance(network, Backbone)


def _first_convolutions(network: Any, wanted: dict[str, Any]) -> list[str]:
    """Keys of the weights that see the image's channels."""
    said = network.model.pretrained_cfg.get("first_conv") if _is_of_timm(network) else None
    if said:
        keys = [f"{name}.weight" for name in ([said] if isinstance(said, str) else said)]
        return [key for key in keys if key in wanted and len(wanted[key]) == 4]
    return [key for key, shape in wanted.items() if len(shape) == 4][:1]


def _named(keys: list[str]) -> str:
    more = f" and {len(keys) - MAX_NAMED} more" if len(keys) > MAX_NAMED else ""
    return ", ".join(keys[:MAX_NAMED]) + more
