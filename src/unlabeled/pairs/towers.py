"""Two encoders of different kinds of data, with a shared embedding space."""

from typing import Any, Generic, Literal, Self, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.encoders import Saved, encoder_of
from unlabeled.nn.network import Network

Side = Literal["first", "second"]
First = TypeVar("First", bound=Saved)
Second = TypeVar("Second", bound=Saved)


class Towers(Network):
    """Two networks, each with a linear map to P dimensions.

    Args:
        width: Dimensions of the shared space (P).
    """

    def __init__(self, first: Network, second: Network, width: int):
        super().__init__()
        self.first, self.second = first, second
        self.feature_dim = first.feature_dim
        self.first_projection = nn.Linear(self.feature_dim, width, bias=False)
        self.second_projection = nn.Linear(second.feature_dim, width, bias=False)


class PairEncoder(Saved, Generic[First, Second]):
    """Two encoders, each complete, and their maps into a shared space where matching data are near each other.

    Its features, which are probed and monitored, are those of the first encoder.
    """

    network: Towers

    def __init__(self, first: First, second: Second, width: int):
        self.first, self.second, self.width = first, second, width
        self.network = Towers(first.network, second.network, width)

    def embed(self, data: Any) -> np.ndarray:
        """Features of the first kind of data, float32 (N, D)."""
        return self.first.embed(data)

    def shared(self, side: Side, data: Any) -> np.ndarray:
        """Unit vectors in the shared space, float32 (N, P), for data of the first or the second kind."""
        return self.projected(side, (self.first if side == "first" else self.second).embed(data))

    @torch.no_grad()
    def projected(self, side: Side, features: np.ndarray) -> np.ndarray:
        """Unit vectors in the shared space, float32 (N, P), for features float32 (N, D) of one side."""
        projection: nn.Linear = getattr(self.network, f"{side}_projection")
        vectors = projection(torch.from_numpy(features).to(projection.weight.device))
        return F.normalize(vectors, dim=1).cpu().numpy()

    def misfit(self, data: Any) -> str | None:
        """The reason why the encoder cannot embed these data, in words that follow its name; None where it can."""
        return self.first.misfit(data)

    def spec(self) -> dict[str, Any]:
        return {"kind": "pair", "first": self.first.spec(), "second": self.second.spec(), "width": self.width}

    @classmethod
    def of(cls, spec: dict[str, Any]) -> Self:
        first, second = cast(First, encoder_of(spec["first"])), cast(Second, encoder_of(spec["second"]))
        return cls(first, second, spec["width"])


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosine similarity of each row of (B, P) with each row of (M, P): (B, M)."""
    return F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
