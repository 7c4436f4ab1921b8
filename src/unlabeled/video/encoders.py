"""Encoders of clips: of their frames, and of their sounds."""

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from unlabeled.encoders import Saved
from unlabeled.errors import DataError
from unlabeled.images.encoder import ImageEncoder
from unlabeled.nn.network import ImageNetwork, Network
from unlabeled.nn.small_networks import build_encoder, rebuild, spec_of
from unlabeled.runtime.counts import counted
from unlabeled.video.config import Spectrograms, VideoIngestion
from unlabeled.video.sound import log_mel

EMBED_BATCH_SIZE = 64
"""Clips embedded at a time."""


class FrameNetwork(Network):
    """Mean of an image network's features over the frames of a clip: (B, T, C, H, W) to (B, D)."""

    def __init__(self, frame: ImageNetwork):
        super().__init__()
        self.frame, self.feature_dim = frame, frame.feature_dim

    def forward(self, frames: Tensor) -> Tensor:
        return self.frame(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).mean(1)


class FramesEncoder(Saved):
    """An encoder of images, with the number of frames of a clip that it embeds."""

    def __init__(self, frames: int, image: ImageEncoder):
        self.frames, self.image = frames, image
        self.network = FrameNetwork(self.image.network)

    def prepare(self, frames: np.ndarray) -> Tensor:
        """The network's input: uint8 frames (B, T, C, H, W) as normalised float32, on its device."""
        return self.image.prepare(frames.reshape(-1, *frames.shape[2:])).unflatten(0, frames.shape[:2])

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Features of frames uint8 (N, T, C, H, W), float32 (N, D), with the network in eval mode.

        Raises:
            DataError: The array has another type, or another shape.
        """
        if frames.ndim != 5 or frames.dtype != np.uint8 or frames.shape[2] != self.image.channels:
            expected = f"expected uint8 of (N, T, {self.image.channels}, H, W)"
            raise DataError(f"received frames of {frames.dtype} with shape {frames.shape}, {expected}")
        return self.in_batches(frames, self.prepare, EMBED_BATCH_SIZE)

    def misfit(self, data: Any) -> str | None:
        """The reason why the encoder cannot embed these data, in words that follow its name; None where it can."""
        if np.ndim(data) != 5:
            return "is of clips, and today's data are none"
        if self.image.channels != data.shape[2]:
            return f"is of clips with {counted(self.image.channels, 'channels')}, and today's have {data.shape[2]}"
        return None

    def spec(self) -> dict[str, Any]:
        return {"kind": "frames", "frames": self.frames, **self.image.spec()}

    @classmethod
    def of(cls, spec: dict[str, Any]) -> Self:
        return cls(spec["frames"], ImageEncoder.of(spec))


class SoundEncoder(Saved):
    """A network for log-mel spectrograms, with the recipe that makes these from sounds.

    Args:
        rate: Sampling rate of its sounds in Hz.
        samples: Samples of the sounds that it was trained on (S).
        network: The network; None: one with random weights.
    """

    network: ImageNetwork

    def __init__(
        self, architecture: str, rate: int, samples: int, recipe: Spectrograms, network: ImageNetwork | None = None
    ):
        self.architecture, self.rate, self.samples, self.recipe = architecture, rate, samples, recipe
        self.network = network if network is not None else build_encoder(architecture, 1, recipe.mels)

    def embed(self, sounds: np.ndarray) -> np.ndarray:
        """Features of sounds int16 (N, S) at the encoder's rate, float32 (N, D), with the network in eval mode.

        Raises:
            DataError: The array has another type, or another shape.
        """
        if sounds.ndim != 2 or sounds.dtype != np.int16:
            raise DataError(f"received sounds of {sounds.dtype} with shape {sounds.shape}, expected int16 of (N, S)")

        def prepare(some: np.ndarray) -> Tensor:
            return torch.from_numpy(log_mel(some, self.rate, self.recipe)[:, None]).to(self.device)

        return self.in_batches(sounds, prepare, EMBED_BATCH_SIZE)

    def spec(self) -> dict[str, Any]:
        return {
            "kind": "sound",
            **spec_of(self.architecture, self.network),
            "rate": self.rate,
            "samples": self.samples,
            "recipe": self.recipe.model_dump(mode="json"),
        }

    @classmethod
    def of(cls, spec: dict[str, Any]) -> Self:
        recipe = Spectrograms(**spec["recipe"])
        return cls(spec["architecture"], spec["rate"], spec["samples"], recipe, rebuild(spec, 1, recipe.mels))


def reading_for(first: FramesEncoder, second: SoundEncoder) -> VideoIngestion:
    """Parameters to read clips in the form that two towers embed."""
    return VideoIngestion.model_validate(
        {
            "seconds": second.samples / second.rate,
            "rate": second.rate,
            "frames": first.frames,
            "image_size": first.image.image_size,
            "channels": first.image.channels,
        }
    )
