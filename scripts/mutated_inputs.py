"""Feeds mutated files to each reader, and checks that it reads them or reports a reason.

`python -m scripts.mutated_inputs --count=1000` prints one line a reader: the numbers of inputs that were read and of
inputs refused with a reason, and the largest time and memory of an input. A reader fails where it raises an error of
another class than the project's, where an input takes more than 10 seconds of a core or 1 GB, or where the process
dies. Input k of a reader is always the same: `--reader=video --first=17 --count=1` runs number 17 alone.
"""

import argparse
import base64
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from unlabeled.errors import UnlabeledError
from unlabeled.images.decode import FORMATS, UndecodableError, decode, header, pixel_limit, values

SECONDS, MEMORY = 10, 2**30
"""Largest number of seconds, and of bytes of memory, for one input."""
HUGE = (0xFF, 0x7FFF, 0xFFFF, 10**6, 0x7FFFFFFF, 0xFFFFFFFF, 2**40, 2**63 - 1)
"""Numbers that replace lengths and counts in a file."""
WORDS = (b"9" * 400, b"-1", b"NaN", b"1e999", b"[" * 50_000, b'{"a":' * 20_000, b"\0", b"\xff\xfe", b"x" * 300_000)
"""Texts that replace a piece of a file."""


class Outcome(NamedTuple):
    """The outcome of an input.

    Attributes:
        reason: The reason for which the reader refused it; empty: it was read.
        fault: The failure of the reader; empty: none.
        seconds: Time on a core.
        bytes: Memory.
    """

    number: int
    reason: str
    fault: str
    seconds: float
    bytes: int


class Reader(NamedTuple):
    """A reader under test.

    Attributes:
        make: Makes valid files by name, of which one at a time is mutated.
        read: Reads a file in a folder. Raises an error of the project, or returns the reason of a quarantined item.
        beside: Makes further files of the folder, which are not mutated.
    """

    make: Callable[[], dict[str, bytes]]
    read: Callable[[Path, str], str | None]
    beside: Callable[[], dict[str, bytes]] = dict


def mutated(content: bytes, draw: random.Random) -> bytes:
    """The content with up to four random changes of bytes, blocks, lengths and words."""
    made = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        size = max(1, len(made))
        place = min(draw.randrange(size), draw.randrange(size), draw.randrange(size))  # headers more often
        end = place + draw.randint(1, max(1, size // 4))
        match draw.randrange(7):
            case 0:
                for _ in range(draw.randint(1, 20)):
                    made[draw.randrange(size) : place + 1] = bytes([draw.randrange(256)])
            case 1:
                for each in range(place, min(place + 4, len(made))):
                    made[each] ^= 1 << draw.randrange(8)
            case 2:
                del made[place + 1 :]
            case 3:
                made[end:end] = made[place:end] * draw.choice((1, 2, 50))
            case 4:
                del made[place:end]
            case 5:
                width, order = draw.choice((2, 4, 8)), draw.choice(("little", "big"))
                made[place : place + width] = (draw.choice(HUGE) % 256**width).to_bytes(width, order)
            case 6:
                made[place : place + draw.randint(0, 8)] = draw.choice(WORDS)
    return bytes(made[: 2**24])


def outcomes(name: str, numbers: range, folder: Path) -> Iterator[Outcome]:
    """The outcomes of a reader's inputs with these numbers."""
    reader = READERS[name]
    files = reader.make()
    for beside, content in reader.beside().items():
        (folder / beside).write_bytes(content)
    for number in numbers:
        draw = random.Random(f"{name} {number}")
        file = draw.choice(sorted(files))
        (folder / file).write_bytes(mutated(files[file], draw))
        yield _outcome(number, reader, folder, file)
        (folder / file).unlink()


def _outcome(number: int, reader: Reader, folder: Path, file: str) -> Outcome:
    before, began = _memory("VmRSS"), time.process_time()
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak memory
    reason = fault = ""
    try:
        reason = reader.read(folder, file) or ""
    except (UnlabeledError, UndecodableError) as error:
        reason = str(error)
    except Exception as error:
        if getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE":  # MLflow answers it with status 400
            reason = str(error)
        else:
            fault = f"{file}: {type(error).__name__}: {error}"
    seconds, taken = time.process_time() - began, _memory("VmHWM") - before
    if seconds > SECONDS or taken > MEMORY or "MemoryError" in reason:
        fault = fault or f"{file}: {seconds:.1f} s and {taken / 1e6:.0f} MB {reason}"
    return Outcome(number, reason, fault, seconds, taken)


def _memory(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])


# Readers and their files


def _picture(size: int = 24, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((size, size + 8), Image.Resampling.BICUBIC)


def _encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _images() -> dict[str, bytes]:
    made = {form: _encoded(_picture(), form) for form in FORMATS if form not in ("XBM", "XPM", "SUN")}
    made["XBM"] = _encoded(_picture().convert("1"), "XBM")
    made["XPM"] = b'/* XPM */\nstatic char * a[] = {\n"2 2 2 1",\n"a c #000000",\n"b c #ffffff",\n"ab",\n"ba"};\n'
    made["progressive"] = _encoded(_picture(), "JPEG", progressive=True)
    made["palette"] = _encoded(_picture().convert("P"), transparency=3)
    made["deep"] = _encoded(Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30)))
    frames = [_picture(seed=seed) for seed in range(1, 4)]
    for form in ("GIF", "TIFF", "WEBP", "PNG"):
        made[f"frames {form}"] = _encoded(_picture(), form, save_all=True, append_images=frames)
    for compression in ("tiff_lzw", "tiff_deflate", "jpeg"):
        made[f"TIFF {compression}"] = _encoded(_picture(), "TIFF", compression=compression)
    return made


def _read_image(folder: Path, file: str) -> None:
    with pixel_limit(100_000_000):
        header(folder / file)
        seen = header((folder / file).read_bytes())
        decode((folder / file).read_bytes(), 32, 3)
        if seen.mode.startswith("I"):
            values(folder / file)


def _dicoms() -> dict[str, bytes]:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless

    grey, made = np.arange(32 * 24, dtype=np.uint8).reshape(32, 24), {}
    packed = encapsulate([_encoded(Image.fromarray(grey), "JPEG2000", no_jp2=True)])
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless):
        dataset, file = Dataset(), BytesIO()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
        dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.PatientName = "1.2.840.10008.5.1.4.1.1.7", "1.2.3", "Doe"
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 32, 24, 1
        dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
        dataset.WindowCenter, dataset.WindowWidth, dataset.RescaleSlope, dataset.RescaleIntercept = 100, 90, 2, -9
        dataset.PixelData = packed if syntax == JPEG2000Lossless else grey.tobytes()
        dataset["PixelData"].VR = "OB"
        if syntax == RLELossless:
            dataset.compress(RLELossless)
        dataset.save_as(file, enforce_file_format=True)
        made[f"{syntax.name}.dcm".replace("/", " ")] = file.getvalue()
    return made


def _heics() -> dict[str, bytes]:
    return {
        file.name: file.read_bytes()
        for file in (Path(__file__).parents[1] / "tests/unlabeled/images/heic").glob("*.heic")
    }


def _parquets() -> dict[str, bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"bytes": _encoded(_picture(seed=seed)), "path": None} for seed in range(8)]
    rows[3] = {"bytes": None, "path": "a.png"}
    table = pa.table(
        {
            "image": pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "label": ["cat", "dog"] * 4,
            "split": ["train", "test"] * 4,
        }
    )
    made = {}
    for compression in ("none", "snappy", "zstd"):
        file = BytesIO()
        pq.write_table(table, file, compression=compression, row_group_size=4)
        made[f"{compression}.parquet"] = file.getvalue()
    return made


def _read_parquet(folder: Path, file: str) -> None:
    from unlabeled.config import Ingestion
    from unlabeled.images.sources import open_source

    source = open_source(Ingestion(source="parquet", path=str(folder / file), label="label"))
    list(source.sample(4))
    list(source.items)


def _tables() -> dict[str, bytes]:
    names = [f"{number}.png" for number in range(4)]
    lines = "file_name,label,split\n" + "".join(f"{name},cat,train\n" for name in names)
    rows = "".join(json.dumps({"file_name": name, "label": "cat"}) + "\n" for name in names)
    return {
        "metadata.csv": lines.encode(),
        "metadata.tsv": lines.replace(",", "\t").encode("utf-16"),
        "metadata.jsonl": rows.encode(),
    }


def _read_folder(folder: Path, file: str) -> str | None:
    from unlabeled.config import Ingestion
    from unlabeled.images.sources import open_source

    source = open_source(Ingestion(source="image_folder", path=str(folder)))
    return next((item.reason for item in source.items if item.reason), None)


def _texts() -> dict[str, bytes]:
    words = " ".join(random.Random(0).choices(["sea", "sky", "stone", "über", "水"], k=300))
    return {"a.txt": f"# A\n\n{words}\n\n# B\n\n{words[::-1]}\n".encode(), "b.txt": words.replace(" ", "\r\n").encode()}


def _read_text(folder: Path, file: str) -> str | None:
    from unlabeled.text.config import TextIngestion
    from unlabeled.text.ingest import passages_of
    from unlabeled.text.sources import read_documents
    from unlabeled.text.tokens import encode, train_tokenizer

    config = TextIngestion(source="text", path=str(folder / file), documents="heading")
    documents = list(read_documents(config).items)
    texts = [document.text for document in documents if not document.reason]
    if texts:
        tokenizer = train_tokenizer(texts, config.model_copy(update={"vocabulary": None}))
        [encode(tokenizer, passage) for text in texts for passage in passages_of(text, 100)]
    return next((document.reason for document in documents if document.reason), None)


def _sounds() -> dict[str, bytes]:
    tone = (np.sin(np.arange(8000) / 5) * 9000).astype(np.int16)
    made = {}
    for width, channels in ((1, 1), (2, 1), (2, 2)):
        file = BytesIO()
        with wave.open(file, "wb") as sound:
            sound.setnchannels(channels), sound.setsampwidth(width), sound.setframerate(8000)
            sound.writeframes(tone.tobytes())
        made[f"{width}{channels}.wav"] = file.getvalue()
    return made


def _read_sound(folder: Path, file: str) -> None:
    from unlabeled.video.clips import read_clip
    from unlabeled.video.config import VideoIngestion

    read_clip(folder, VideoIngestion(channels=3))


def _videos() -> dict[str, bytes]:
    from unlabeled.video.clips import write_clip

    made, tone = {}, (np.sin(np.arange(8000) / 5) * 9000).astype(np.int16)
    frames = np.random.default_rng(0).integers(0, 256, (16, 3, 32, 32), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as place:
        for name in ("a.mp4", "a.mov", "a.mkv"):
            write_clip(Path(place, name), frames, 16, tone, 8000)
            made[name] = Path(place, name).read_bytes()
    return made


def _read_video(folder: Path, file: str) -> None:
    from unlabeled.video.clips import read_clip
    from unlabeled.video.config import VideoIngestion

    read_clip(folder / file, VideoIngestion(channels=3))


def _encoder(architecture: str = "small_resnet") -> Any:
    import torch

    from unlabeled.images.encoder import ImageEncoder, Normalisation

    with torch.random.fork_rng([]):
        torch.manual_seed(0)  # weights and JSON are made in separate calls, and must match
        return ImageEncoder(architecture, 3, 8, Normalisation((0.5,) * 3, (0.2,) * 3))


def _saved(ending: str) -> dict[str, bytes]:
    made = {}
    with tempfile.TemporaryDirectory() as place:
        for name in ("small_resnet", "linear", "patches"):
            _encoder(name).save(Path(place, f"{name}.safetensors"))
            made[f"{name}{ending}"] = Path(place, f"{name}{ending}").read_bytes()
    return made


def _read_encoder(folder: Path, file: str) -> None:
    import unlabeled.nn.torchvision_networks  # noqa: F401 - its import takes seconds, which do not count
    from unlabeled.encoders import read_encoder

    encoder = read_encoder((folder / file).with_suffix(".safetensors"))
    encoder.embed(np.zeros((1, encoder.channels, 8, 8), np.uint8))


def _checkpoints() -> dict[str, bytes]:
    import torch

    from unlabeled.storage import checkpoint

    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "a.safetensors")
        checkpoint.save(path, {"model": {"weight": torch.rand(9, 9)}, "rows": [1, 2, {"a": torch.rand(3)}], "step": 3})
        return {path.name: path.read_bytes()}


def _read_checkpoint(folder: Path, file: str) -> None:
    from unlabeled.storage import checkpoint

    checkpoint.load(folder / file)


@cache
def _onnx() -> dict[str, bytes]:
    from unlabeled.downstream.export import write_onnx
    from unlabeled.downstream.model import LoadedModel

    with tempfile.TemporaryDirectory() as place:
        write_onnx(LoadedModel(_encoder()), Path(place, "a.onnx"))
        return {"a.onnx": Path(place, "a.onnx").read_bytes()}


def _read_onnx(folder: Path, file: str) -> None:
    from unlabeled.downstream.export import largest_difference
    from unlabeled.downstream.model import LoadedModel

    largest_difference(LoadedModel(_encoder()), np.zeros((1, 3, 8, 8), np.uint8), folder / file)


def _requests() -> dict[str, bytes]:
    content = base64.b64encode(_encoded(_picture()))
    return {
        "files": b'{"files": ["' + content + b'"]}',
        "images": json.dumps({"images": np.zeros((1, 3, 4, 4), int).tolist()}).encode(),
        **{f"raw {name}": content for name, content in _images().items() if name != "deep"},
    }


def _answer(folder: Path, file: str) -> None:
    from pipelines.images.model import EncoderModel
    from unlabeled.downstream.model import LoadedModel

    content, model = (folder / file).read_bytes(), EncoderModel()
    model.model = LoadedModel(_encoder())
    if file.startswith("raw"):
        model.predict(None, np.zeros((1, 3, 4, 4)), {"files": [base64.b64encode(content).decode()]})
        return
    try:  # MLflow parses a request before it calls the model, and answers 400 where it cannot
        asked = json.loads(content)
        images, files = np.asarray(asked.get("images", 0)), [str(each) for each in asked.get("files", [])]
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UndecodableError(str(error)[:100]) from error
    model.predict(None, images, {"files": files})


def _weights() -> dict[str, bytes]:
    return _saved(".safetensors")


def _specs() -> dict[str, bytes]:
    return _saved(".json")


READERS = {
    "image": Reader(_images, _read_image),
    "dicom": Reader(_dicoms, _read_image),
    "heic": Reader(_heics, _read_image),
    "parquet": Reader(_parquets, _read_parquet, lambda: {"a.png": _encoded(_picture())}),
    "csv": Reader(_tables, _read_folder, lambda: {f"{number}.png": b"an image" for number in range(4)}),
    "text": Reader(_texts, _read_text),
    "sound": Reader(_sounds, _read_sound, lambda: {"0.png": _encoded(_picture())}),
    "video": Reader(_videos, _read_video),
    "safetensors": Reader(_weights, _read_encoder, _specs),
    "json": Reader(_specs, _read_encoder, _weights),
    "checkpoint": Reader(_checkpoints, _read_checkpoint),
    "onnx": Reader(_onnx, _read_onnx),
    "request": Reader(_requests, _answer),
}


# Running the readers


def _child(name: str, numbers: range) -> None:
    """Prints the outcome of each input as JSON. The memory limit of the process is three times that of an input."""
    with tempfile.TemporaryDirectory() as place:
        list(outcomes(name, range(-8, 0), Path(place)))  # warm-up: imports and caches do not count
        resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + 3 * MEMORY,) * 2)
        signal.alarm(SECONDS * 6)
        for outcome in outcomes(name, numbers, Path(place)):
            print(json.dumps(outcome), flush=True)
            signal.alarm(SECONDS * 6)


def examine(name: str, numbers: range) -> list[Outcome]:
    """The outcomes of a reader's inputs, from a child process. Where it dies of an input, a new one continues."""
    found: list[Outcome] = []
    while len(found) < len(numbers):
        rest = numbers[len(found) :]
        options = [f"--reader={name}", f"--first={rest.start}", f"--count={len(rest)}", "--child"]
        command = [sys.executable, "-m", "scripts.mutated_inputs", *options]
        told = subprocess.run(command, capture_output=True, text=True)
        found += [Outcome(*json.loads(line)) for line in told.stdout.splitlines() if line.startswith("[")]
        if told.returncode and len(found) < len(numbers):
            last = " ".join(told.stderr.split()[-30:])
            found.append(Outcome(numbers[len(found)], "", f"died with {told.returncode}: {last}", 0, 0))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reader", choices=READERS, action="append")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    numbers, faults = range(given.first, given.first + given.count), 0
    if given.child:
        return _child(*given.reader, numbers)
    print(f"{'reader':12} {'inputs':>7} {'read':>7} {'refused':>7} {'slowest':>9} {'memory':>8} {'faults':>7}")
    for name in given.reader or READERS:
        found = examine(name, numbers)
        bad = [outcome for outcome in found if outcome.fault]
        faults += len(bad)
        refused = sum(bool(outcome.reason) for outcome in found)
        slowest, most = max(outcome.seconds for outcome in found), max(outcome.bytes for outcome in found)
        print(
            f"{name:12} {len(found):7} {len(found) - refused - len(bad):7} {refused:7} {slowest:7.2f} s "
            f"{most / 1e6:5.0f} MB {len(bad):7}",
            flush=True,
        )
        for outcome in bad[:10]:
            print(f"  {outcome.number}: {outcome.fault[:300]}", flush=True)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
