"""The provenance of a run, from which it can be reproduced: data, parameters, code, libraries, hardware."""

import hashlib
import json
import logging
import os
import platform
from collections.abc import Iterable
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipelines.clients.git import COMMIT, LACKS, changed_files, is_dirty, named, patch
from pipelines.registry.scan import (
    check_no_secrets,
    lines_of_command,
    lines_of_parameters,
    lines_of_patch,
    marked_lines,
)
from unlabeled.catalogue import IMAGE_METHODS, METHOD_GROUPS
from unlabeled.errors import UnlabeledError
from unlabeled.runtime.masking import masked
from unlabeled.storage.freshness import code_digest

logger = logging.getLogger(__name__)

LIBRARIES = ("av", "numpy", "pandas", "pillow", "pyarrow", "scikit-learn", "safetensors", "tokenizers")
LIBRARIES += ("timm", "torch", "torchvision")
"""Libraries whose version may change results."""
PARAMETERS, DATA, DIFF = "parameters.json", "dvc_data.json", "changes.diff"
"""Files of a record: all resolved parameters; the revisions of data that DVC tracks; the patch from the commit to the
work tree, where they differ."""
METRICS, ANSWERS, MANIFEST = "metrics.json", "predictions.parquet", "manifest.parquet"
"""Further files of a version's record: its metrics, its predictions for the test images, and the manifest."""
TRAINED_BY = "parameters"
"""Key in run.json of the blocks of parameters that trained the encoder."""
LABELS_BEFORE = "labels_before"
"""Key in run.json, and tag: the digest of the data of the training, where only labels have changed since."""
PLUGIN = "plug_in"
"""Tag: the distribution, version and code digest of the package that the method comes from; none for our own."""
CODE, TRAINED_WITH = "code", "trained_with"
"""Tags: the code of a run, by `code_of`; the code that trained the weights, where it differs."""


class Provenance(NamedTuple):
    """The tags of a run, and the files of its record by name. A run that neither trains nor registers has no files."""

    tags: dict[str, str]
    files: dict[str, bytes]


def provenance(
    project: Path,
    git: dict[str, str],
    command: str,
    parameters: dict[str, Any],
    recorded: bool,
    methods: Iterable[str] = (),
) -> Provenance:
    """The provenance of a run from the present work tree.

    Args:
        git: The tags of `git_state`.
        command: The command line of the run.
        parameters: All resolved parameters.
        recorded: Whether the run keeps a record, as it makes results that can be reproduced.
        methods: The methods of the run.

    Raises:
        UnlabeledError: MLflow would receive a secret, or a `.dvc` file cannot be read.
    """
    check_no_secrets([*lines_of_command(command), *lines_of_parameters(parameters, marked_lines(project))])
    lock = project / "requirements.lock"
    tags = {
        "command": masked(command),
        "libraries": json.dumps({name: version(name) for name in LIBRARIES}),
        "python": platform.python_version(),
        **git,
    }
    if plugins := ", ".join(filter(None, map(plugin_of, methods))):
        tags[PLUGIN] = plugins
    if lock.exists():
        tags["lock_digest"] = _digest(lock.read_bytes())
    if not recorded:
        return Provenance(tags, {})
    files = {PARAMETERS: _json(parameters), DATA: _json(tracked_data(project))}
    if git:
        kept, tags[LACKS] = _changes(project)
        check_no_secrets(lines_of_patch(kept.get(DIFF, b"").decode(errors="replace")))
        files |= kept
        tags[CODE] = code_of(git[COMMIT], files.get(DIFF, b"" if is_dirty(git) else None))
    return Provenance(tags, files)


def plugin_of(method: str) -> str:
    """Distribution, version and code digest of the package that adds a method, in words; empty for our own methods."""
    point = next((point for point in entry_points(name=method) if point.group in METHOD_GROUPS), None)
    if point is None:
        return ""
    origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.module
    return f"{origin}, code {code_digest(point.module)}"


def code_of(commit: str, diff: bytes | None) -> str:
    """The value of the tag CODE: the commit, and the digest of the recorded changes if there are any."""
    return commit if diff is None else f"{commit}+{_digest(diff)}"


def _changes(project: Path) -> tuple[dict[str, bytes], str]:
    """The patch from the commit as a file of the record, and the names of the changed files that it does not hold."""
    recorded, left_out = changed_files(project)
    if not (recorded or left_out):
        return {}, ""
    try:
        kept = {DIFF: patch(project, recorded)}
    except UnlabeledError as error:
        logger.warning("the changes since the last commit are not kept with the run (%s): commit them", error)
        return {}, named([*recorded, *left_out])
    if left_out:
        logger.warning(
            "not kept with the run: %s, for a record holds code and configuration, and neither keys nor links: commit "
            "what the run needs of it",
            named(left_out),
        )
    return kept, named(left_out)


def with_parameters(files: dict[str, bytes], method: str, blocks: dict[str, Any]) -> dict[str, bytes]:
    """A record in which the method's blocks of parameters are those of its training, not those of the present run.

    Ingestion keeps the present parameters: if they change the data, the data digest of a reproduction differs.
    """
    parameters = json.loads(files[PARAMETERS])
    parameters[method] = parameters.get(method, {}) | blocks
    if method in IMAGE_METHODS and "augmentation" in blocks:  # methods of images share the crops, and so this block
        parameters["augmentation"] = blocks["augmentation"]
    return {**files, PARAMETERS: _json(parameters)}


def tracked_data(project: Path) -> dict[str, str]:
    """The `.dvc` files of the project, and the digest of the data that each tracks: DVC's revision of the data."""
    found = {}
    for file in sorted(
        [*project.glob("*.dvc"), *(project / "data").glob("*.dvc"), *(project / "data").glob("01_raw/**/*.dvc")]
    ):
        if file.is_file():
            try:
                outs = yaml.safe_load(file.read_text()).get("outs", [])
            except (yaml.YAMLError, AttributeError) as error:  # such as an unresolved merge
                raise UnlabeledError(f"{file} is not valid ({' '.join(str(error).split())}): fix it") from error
            found[file.relative_to(project).as_posix()] = "+".join(str(out.get("md5")) for out in outs)
    return found


def hardware(device: str) -> dict[str, Any]:
    """The hardware, on which the exact weights depend; `device` is cpu or cuda."""
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


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=2).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
