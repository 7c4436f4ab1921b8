"""What has to be known of a run to make it again: data, parameters, code, libraries, hardware."""

import hashlib
import json
import logging
import os
import platform
from importlib.metadata import version
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
from unlabeled.catalogue import IMAGE_METHODS
from unlabeled.errors import UnlabeledError
from unlabeled.runtime.masking import masked

logger = logging.getLogger(__name__)

LIBRARIES = ("av", "numpy", "pandas", "pillow", "pyarrow", "scikit-learn", "safetensors", "tokenizers")
LIBRARIES += ("torch", "torchvision")
"""Those whose version may change a number."""
PARAMETERS, DATA, DIFF = "parameters.json", "dvc_data.json", "changes.diff"
"""Of a record: all parameters as they were resolved, the data that DVC tracks, and what turns the commit into the work
tree (where there is a difference)."""
METRICS, ANSWERS, MANIFEST = "metrics.json", "predictions.parquet", "manifest.parquet"
"""Of a version's record, beside these: what it is worth, its answers to the test images, and the list of all images."""
TRAINED_BY = "parameters"
"""Of a training's record: its own blocks of parameters."""
CODE, TRAINED_WITH = "code", "trained_with"
"""Tags: the code of a run, as `Provenance.code` names it; and that of the weights, where it was another."""


class Provenance(NamedTuple):
    """Of a run: its tags, and the files of its record by name (none for a run that neither trains nor registers)."""

    tags: dict[str, str]
    files: dict[str, bytes]


def provenance(
    project: Path, git: dict[str, str], command: str, parameters: dict[str, Any], recorded: bool
) -> Provenance:
    """What a run of today's work tree is made from.

    Args:
        git: As `git_state` has it.
        parameters: As they were resolved.
        recorded: Whether there is a record beside the tags: something is made that anybody may want to make again.

    Raises:
        UnlabeledError: There is a secret in what MLflow would get, or a file of DVC's cannot be read.
    """
    check_no_secrets([*lines_of_command(command), *lines_of_parameters(parameters, marked_lines(project))])
    lock = project / "requirements.lock"
    tags = {
        "command": masked(command),
        "libraries": json.dumps({name: version(name) for name in LIBRARIES}),
        "python": platform.python_version(),
        **git,
    }
    if lock.exists():
        tags["lock_digest"] = _digest(lock.read_bytes())
    if not recorded:
        return Provenance(tags, {})
    files = {PARAMETERS: _json(parameters), DATA: _json(tracked_data(project))}
    if is_dirty(git):
        kept, tags[LACKS] = _changes(project)
        check_no_secrets(lines_of_patch(kept.get(DIFF, b"").decode(errors="replace")))
        files |= kept
    if git:
        tags[CODE] = code_of(git[COMMIT], files.get(DIFF, b"") if is_dirty(git) else None)
    return Provenance(tags, files)


def code_of(commit: str, diff: bytes | None) -> str:
    """The tag that names the code of a run: its commit, and a digest of the recorded changes where there are any."""
    return commit if diff is None else f"{commit}+{_digest(diff)}"


def _changes(project: Path) -> tuple[dict[str, bytes], str]:
    """What differs from the commit, as a file of the record, and the names of what that file does not hold."""
    recorded, left_out = changed_files(project)
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
    """A record in which a method has the blocks of parameters that trained it: today's may be others.

    Those of ingestion are today's: a version made again has other data then, and that is told by their digest.
    """
    parameters = json.loads(files[PARAMETERS])
    parameters[method] = parameters.get(method, {}) | blocks
    if method in IMAGE_METHODS and "augmentation" in blocks:  # whose crops are cut by the block that they share
        parameters["augmentation"] = blocks["augmentation"]
    return {**files, PARAMETERS: _json(parameters)}


def tracked_data(project: Path) -> dict[str, str]:
    """The `.dvc` files of the project, and the digest of what each of them stands for: DVC's revision of the data."""
    found = {}
    for file in sorted(
        [*project.glob("*.dvc"), *(project / "data").glob("*.dvc"), *(project / "data").glob("01_raw/**/*.dvc")]
    ):
        if file.is_file():
            try:
                outs = yaml.safe_load(file.read_text()).get("outs", [])
            except (yaml.YAMLError, AttributeError) as error:  # a merge that nobody has resolved
                raise UnlabeledError(f"{file} is no file of DVC's ({' '.join(str(error).split())}): mend it") from error
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


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=2).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
