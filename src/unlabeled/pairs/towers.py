"""Two encoders of different kinds of data, and the space that both share."""

from typing import Any, Generic, Literal, Self, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.encoders import Saved, encoder_of

Side = Literal["first", "second"]
First = TypeVar("First", bound=Saved)
Second = TypeVar("Second", bound=Saved)


class Towers(nn.Module):
    """Two networks, each with a linear map to P dimensions.

    Args:
        first, second: With a `feature_dim`.
        width: P.
    """

    def __init__(self, first: nn.Module, second: nn.Module, width: int):
        super().__init__()
        self.first, self.second = first, second
        self.feature_dim = cast(int, first.feature_dim)
        self.first_projection = nn.Linear(self.feature_dim, width, bias=False)
        self.second_projection = nn.Linear(cast(int, second.feature_dim), width, bias=False)


class PairEncoder(Saved, Generic[First, Second]):
    """Two encoders, each with what it needs to be used, and their map into a space where what belongs together is near.

    Its own features, which are probed and monitored, are those of the first.
    """

    def __init__(self, first: First, second: Second, width: int):
        self.first, self.second, self.width = first, second, width
        self.network = Towers(first.network, second.network, width)

    def embed(self, data: Any) -> np.ndarray:
        """Features of the first kind of data, float32 (N, D)."""
        return self.first.embed(data)

    def shared(self, side: Side, data: Any) -> np.ndarray:
        """Unit vectors in the shared space, float32 (N, P), of data of the first kind or the second."""
        return self.projected(side, (self.first if side == "first" else self.second).embed(data))

    @torch.no_grad()
    def projected(self, side: Side, features: np.ndarray) -> np.ndarray:
        """The same of the features of such data, float32 (N, D)."""
        projection: nn.Linear = getattr(self.network, f"{side}_projection")
        vectors = projection(torch.from_numpy(features).to(projection.weight.device))
        return F.normalize(vectors, dim=1).cpu().numpy()

    def misfit(self, data: Any) -> str | None:
        """Why it cannot embed such data, in words that follow its name; None where it can."""
        return self.first.misfit(data)

    def spec(self) -> dict[str, Any]:
        return {"kind": "pair", "first": self.first.spec(), "second": self.second.spec(), "width": self.width}

    @classmethod
    def of(cls, spec: dict[str, Any]) -> Self:
        first, second = cast(First, encoder_of(spec["first"])), cast(Second, encoder_of(spec["second"]))
        return cls(first, second, spec["width"])


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosine similarity of each of (B, P) with each of (M, P): (B, M)."""
    return F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
