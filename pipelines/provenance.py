"""What has to be known of a run to make it again: data, parameters, libraries, hardware (the commit is git's)."""

import hashlib
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

LIBRARIES = ("numpy", "pandas", "pillow", "pyarrow", "scikit-learn", "safetensors", "torch", "torchvision")
"""Those whose version may change a number."""
PARAMETERS, DIFF = "parameters.json", "changes.diff"
"""Artifacts of a run: all parameters as they were resolved, and what turns its commit into its work tree."""
RECORDED = ("dvc_data", "lock_digest", "libraries", "python")
"""The tags that `made_from` gives."""


def made_from(project: Path) -> dict[str, str]:
    """Tags: the data that DVC tracks, the digest of the lock, and the libraries as they are installed."""
    lock = project / "requirements.lock"
    tags = {
        "dvc_data": json.dumps(tracked_data(project)),
        "libraries": json.dumps({name: version(name) for name in LIBRARIES}),
        "python": platform.python_version(),
    }
    if lock.exists():
        tags["lock_digest"] = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    return tags


def tracked_data(project: Path) -> dict[str, str]:
    """The `.dvc` files of the project, and the digest of what each of them stands for: DVC's revision of the data."""
    found = {}
    for file in sorted(
        [*project.glob("*.dvc"), *(project / "data").glob("*.dvc"), *(project / "data").glob("01_raw/**/*.dvc")]
    ):
        if file.is_file():
            outs = yaml.safe_load(file.read_text()).get("outs", [])
            found[file.relative_to(project).as_posix()] = "+".join(str(out.get("md5")) for out in outs)
    return found


def hardware(device: str) -> dict[str, Any]:
    """Where weights are made: the same kind of machine makes the same bits."""
    import torch

    of_gpu = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    return {
        "device": device,
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **of_gpu,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
