"""Export of a model as files that do not need this project: ONNX, safetensors, and a script that uses them."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from unlabeled.downstream.model import LoadedModel
from unlabeled.errors import DataError, UnlabeledError
from unlabeled.evaluation.probe import LinearProbe
from unlabeled.images import decode as decoding
from unlabeled.images.augment import normalise
from unlabeled.images.decode import UndecodableError
from unlabeled.images.encoder import ImageEncoder, fit
from unlabeled.images.pixels import read_pixels
from unlabeled.ingestion.walk import find_files
from unlabeled.storage.arrays import open_array, replace_file, spread

MAX_CHECKED_IMAGES = 64
"""Largest number of images that the files are checked on."""
TOLERANCE = 1e-4
"""Largest allowed difference between ONNX and torch, as a fraction of the largest number that torch gives."""
DECODERS = ("decode.py", "dicom.py", "heic.py", "undecodable.py")
"""Files of `unlabeled.images` that `use.py` reads images with, without this project."""
SCRIPT = Path(__file__).parent / "templates" / "use.py"


class Whole(nn.Module):
    """A network from uint8 images (B, C, size, size) to `embedding` (B, D) and, with a probe, `probability` (B,
    classes)."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: ImageEncoder, probe: LinearProbe | None):
        super().__init__()
        self.network, self.head = encoder.network, None
        for name, tensor in zip(("mean", "std"), encoder.normalisation.tensors(), strict=True):
            self.register_buffer(name, tensor)
        if probe is not None:
            self.head = nn.Linear(encoder.feature_dim, len(probe.classes))
            self.head.weight.data, self.head.bias.data = torch.from_numpy(probe.weight), torch.from_numpy(probe.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        embedding = self.network(normalise(images.float() / 255, self.mean, self.std))
        return (embedding,) if self.head is None else (embedding, self.head(embedding).softmax(1))


def export_model(model: LoadedModel[ImageEncoder], images: np.ndarray, folder: Path) -> float:
    """Writes a folder that can be used without this project, after its ONNX file has been checked against torch.

    `encoder.onnx` (uint8 images in, `embedding` and, with a probe, `probability` out), `encoder.safetensors` in the
    architecture's own keys (torchvision's, of a torchvision network), `encoder.json` (size, channels, mean, std, resize
    where it is not crop, classes, version), `probe.safetensors` where there is one, `use.py`, and DECODERS, which are
    this project's own.

    Args:
        images: Images to check with, uint8 (N, C, size, size) of the encoder's channels and size, N ≥ 1.

    Returns:
        The largest difference between ONNX and torch, as a share of the largest number that torch gives.

    Raises:
        UnlabeledError: The difference is above TOLERANCE, or the network cannot be written as ONNX. Files of an
            earlier export stay unchanged.
    """
    with tempfile.TemporaryDirectory() as place:
        made = Path(place)
        write_onnx(model, made / "encoder.onnx")
        difference = largest_difference(model, images, made / "encoder.onnx")
        if not difference <= TOLERANCE:
            raise UnlabeledError(
                f"the ONNX file of {model.name} version {model.version} differs from torch by {difference:.1e} of its "
                f"largest number, where {TOLERANCE:.0e} is allowed: nothing was exported"
            )
        model.encoder.save(made / "encoder.safetensors")
        if model.probe is not None:
            model.probe.save(made / "probe.safetensors")
        spec = json.loads((made / "encoder.json").read_text())
        spec |= {"classes": list(model.classes), "model": model.name, "version": model.version}
        (made / "encoder.json").write_text(json.dumps(spec, indent=2) + "\n")
        for script in (SCRIPT, *(Path(decoding.__file__).with_name(name) for name in DECODERS)):
            alone = re.sub(r"from unlabeled\.images(\.(\w+))? import", _import_beside, script.read_text())
            (made / script.name).write_text(alone)
        for file in sorted(made.iterdir()):
            replace_file(folder / file.name, lambda partial, file=file: shutil.copyfile(file, partial))
    if model.probe is None:
        (folder / "probe.safetensors").unlink(missing_ok=True)  # left by an earlier export
    return difference


def write_onnx(model: LoadedModel[ImageEncoder], path: Path) -> None:
    """Writes the encoder, its normalisation and its probe as one ONNX file, for any number of images of its size."""
    encoder = model.encoder
    example = torch.zeros(2, encoder.channels, encoder.image_size, encoder.image_size, dtype=torch.uint8)
    try:
        # Without this, `onnx.export` would silently fix the number of images where it cannot stay variable.
        batch = {0: torch.export.Dim("batch")}
        program = torch.export.export(Whole(encoder, model.probe).eval(), (example,), dynamic_shapes={"images": batch})
        torch.onnx.export(
            program,
            f=path,
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=["images"],
            output_names=["embedding"] if model.probe is None else ["embedding", "probability"],
        )
    except ImportError as error:
        raise UnlabeledError(f"export needs a package that is not installed ({error}): run make setup") from error
    except Exception as error:  # the exporter raises kinds of its own
        reason = str(error).strip().splitlines()[0]
        raise UnlabeledError(f"the encoder {encoder.architecture} cannot be written as ONNX ({reason})") from error


def largest_difference(model: LoadedModel[ImageEncoder], images: np.ndarray, path: Path) -> float:
    """Largest difference between an ONNX file and torch in embeddings and probabilities, as a fraction of torch's
    largest number."""
    from onnxruntime import InferenceSession  # an optional dependency

    expected = model.answer(images)
    try:
        session = InferenceSession(path, providers=["CPUExecutionProvider"])
        answers = [np.asarray(answer) for answer in session.run(None, {"images": images})]
    except Exception as error:  # onnxruntime raises its own kinds
        reason = str(error).strip().splitlines()[0]
        raise UnlabeledError(f"{path.name} cannot be run by onnxruntime ({reason}): export it again") from error
    shapes, wanted = [answer.shape for answer in answers], [each.shape for each in expected.values()]
    if shapes != wanted:
        raise UnlabeledError(f"{path.name} answers {shapes}, where torch answers {wanted}")
    return max(
        float(np.abs(answer - each).max() / max(np.abs(each).max(), 1e-12))
        for answer, each in zip(answers, expected.values(), strict=True)
    )


def images_to_check(encoder: ImageEncoder, ingested: Path, given: Path | None) -> np.ndarray:
    """At most MAX_CHECKED_IMAGES real images as the encoder takes them, uint8 (N, C, size, size).

    Args:
        ingested: The array that `ingestion` left, uint8 (N, C, H, W), if any.
        given: A file, or a folder, to take instead; None: neither.

    Raises:
        DataError: No image can be read.
    """
    if given is not None:
        files = [given] if given.is_file() else [given / name for name in find_files(given, "export.image").names]
        decoded = list(islice(_decoded(files, encoder), MAX_CHECKED_IMAGES))
        if not decoded:
            raise DataError(f"export.image: {given} holds no image that can be read")
        return np.stack(decoded)
    if not ingested.exists():
        raise DataError(
            "export: there are no ingested images to check the files on: run kedro run --pipeline=ingestion, or name "
            "an image, or a folder of them, with export.image"
        )
    return fit(spread(open_array(ingested), MAX_CHECKED_IMAGES), encoder.pixel_format)


def _decoded(files: Iterable[Path], encoder: ImageEncoder) -> Iterator[np.ndarray]:
    for file in files:
        with suppress(UndecodableError, OSError):
            yield read_pixels(file, encoder.pixel_format).pixels


def _import_beside(found: re.Match[str]) -> str:
    """The import of a module that lies in the same folder."""
    return f"from {found[2]} import" if found[2] else "import"
