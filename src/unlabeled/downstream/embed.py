"""Embeddings of any folder of images, in bounded memory and in parts, so that an interrupted run can resume.

Every core decodes and embeds batches of its own: on a CPU, threads that share a convolution wait for each other, and
for those that decode; beside a GPU, some decode while it is at work.
"""

import hashlib
import json
import logging
import os
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from unlabeled.config import Ingestion
from unlabeled.downstream.model import LoadedModel
from unlabeled.encoders import weights_digest
from unlabeled.errors import DataError
from unlabeled.images.choices import SAMPLE_SIZE, check_values, look_at
from unlabeled.images.decode import pixel_limit
from unlabeled.images.encoder import ImageEncoder
from unlabeled.images.ingest import decode_batch
from unlabeled.ingestion.items import Item, sample_of
from unlabeled.ingestion.walk import find_files, printable
from unlabeled.runtime.progress import bar
from unlabeled.storage.arrays import replace_file

logger = logging.getLogger(__name__)

PART_PATTERN = "[0-9]*.parquet"
"""Glob pattern of the finished parts in a folder of parts."""


def embed_folder(
    model: LoadedModel[ImageEncoder],
    folder: Path,
    output: Path,
    chunk: int = 4096,
    max_pixels: int = Ingestion().max_pixels,
) -> tuple[int, int]:
    """Writes a Parquet file with a row for each file of the folder that may be an image, in the order of their names.

    Its columns: `path`, relative to the folder; `sha256` of the file; `embedding`, D float32; `reason`, null, or why
    the file is no image, where all else is null; with a probe `predicted`, the name of a class, and `probability`,
    float32 of each class. Its metadata: `model`, `version`, `weights`, `folder`, and `classes` as a JSON list.

    Args:
        chunk: Rows of a part. A call with the same model, files and chunk goes on after the last part.
        max_pixels: Larger images are not decoded.

    Returns:
        Number of embedded images, and of files that could not be embedded.

    Raises:
        DataError: The folder is missing, or holds no images, or holds images of more than 8 bits that leave open which
            numbers are black and white.
    """
    found = find_files(folder, "embed.path")
    names = found.names
    if not names:
        raise DataError(f"embed.path: {folder} holds no images{f'; {found.left_out}' if found.left_out.counts else ''}")
    if found.left_out.counts:
        logger.info("%s", found.left_out)
    if model.encoder.normalisation.pixel_range is None:
        with pixel_limit(max_pixels):
            sample = look_at(Item(name, folder / name) for name in sample_of(names, SAMPLE_SIZE))
            check_values(sample, Ingestion().max_quarantined)
    schema = _schema(model, folder)
    parts = _parts(output, folder, names, schema, chunk)
    done = len(list(parts.glob(PART_PATTERN)))
    rows: list[pa.RecordBatch] = []
    with (
        pixel_limit(max_pixels),
        bar("embedding", len(names), "images", done=min(done * chunk, len(names))) as progress,
    ):
        for end, batch in _embedded(model, folder, names, done * chunk, chunk, schema):
            rows.append(batch)
            progress.advance(len(batch))
            if end % chunk == 0 or end == len(names):
                _write(parts / f"{(end - 1) // chunk:09d}.parquet", schema, rows)
                rows = []
    bad = _join(parts, output, schema)
    shutil.rmtree(parts)
    return len(names) - bad, bad


def _schema(model: LoadedModel[ImageEncoder], folder: Path) -> pa.Schema:
    vector = pa.list_(pa.float32())  # not a list of fixed size: Parquet loses its nulls
    fields = [("path", pa.string()), ("sha256", pa.string()), ("embedding", vector), ("reason", pa.string())]
    if model.probe is not None:
        fields += [("predicted", pa.string()), ("probability", vector)]
    metadata = {
        "model": model.name,
        "version": model.version,
        "weights": weights_digest(model.encoder),
        "folder": str(folder.resolve()),
        "classes": json.dumps(list(model.classes)),
    }
    return pa.schema(fields, metadata)


def _parts(output: Path, folder: Path, names: list[str], schema: pa.Schema, chunk: int) -> Path:
    """Folder for the parts of exactly these files and this model; parts of anything else are removed."""
    digest = hashlib.sha256(f"{schema.metadata}{chunk}".encode())
    for name in names:
        state = (folder / name).stat() if (folder / name).exists() else None
        digest.update(os.fsencode(f"{name}\0{state and (state.st_size, state.st_mtime_ns)}\n"))
    parts = output.with_name(f".{output.name}.{digest.hexdigest()[:16]}")
    for other in output.parent.glob(f".{output.name}.*"):
        if other != parts:
            shutil.rmtree(other)
    return parts


def _embedded(
    model: LoadedModel[ImageEncoder], folder: Path, names: list[str], first: int, chunk: int, schema: pa.Schema
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yields the rows of the files from `first` on, in batches within one part, each with the number of its end."""
    workers, size, threads = os.cpu_count() or 1, model.encoder.batch_size, torch.get_num_threads()
    model.encoder.network.eval()  # else one thread's `embed` could restore train mode during another's
    waiting: deque[tuple[int, Future[pa.RecordBatch]]] = deque()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            while first < len(names):
                end = min(first + size, first - first % chunk + chunk, len(names))
                waiting.append((end, pool.submit(_embed, model, folder, names[first:end], schema)))
                first = end
                if len(waiting) > 2 * workers:
                    yield waiting[0][0], waiting.popleft()[1].result()
            while waiting:
                yield waiting[0][0], waiting.popleft()[1].result()
    finally:
        torch.set_num_threads(threads)


def _embed(model: LoadedModel[ImageEncoder], folder: Path, names: list[str], schema: pa.Schema) -> pa.RecordBatch:
    items = [Item(name, folder / name) for name in names]
    outcomes = decode_batch(items, model.encoder.pixel_format)
    pixels = [each.image.pixels for each in outcomes if each.image]
    answer = model.answer(np.array(pixels, np.uint8).reshape(-1, *model.encoder.pixel_format.shape))
    good = np.array([each.image is not None for each in outcomes])
    columns = {
        "path": [printable(name) for name in names],
        "sha256": [each.sha256 or None for each in outcomes],
        "embedding": _vectors(answer["embedding"], good),
        "reason": [each.reason for each in outcomes],
    }
    if model.probe is not None:
        predicted = np.full(len(names), None)
        predicted[good] = [model.classes[row] for row in answer["probability"].argmax(1)]
        columns["predicted"] = pa.array(predicted)
        columns["probability"] = _vectors(answer["probability"], good)
    return pa.record_batch(columns, schema=schema)


def _vectors(rows: np.ndarray, good: np.ndarray) -> pa.Array:
    """Turns the n good rows of float32 (N, D) into N lists of D numbers; rows that are not good are null."""
    ends = np.concatenate([[0], (good * rows.shape[1]).cumsum()]).astype(np.int32)
    return pa.ListArray.from_arrays(ends, pa.array(rows.reshape(-1)), mask=pa.array(~good))


def _write(path: Path, schema: pa.Schema, batches: list[pa.RecordBatch]) -> None:
    table = pa.Table.from_batches(batches, schema)
    replace_file(path, lambda partial: pq.write_table(table, partial, use_dictionary=False))


def _join(parts: Path, output: Path, schema: pa.Schema) -> int:
    """Joins the parts into one file, with one part in memory at a time. Returns the number of rows without an
    embedding."""
    bad = 0

    def write(partial: Path) -> None:
        nonlocal bad
        with pq.ParquetWriter(partial, schema, use_dictionary=False) as writer:
            for part in sorted(parts.glob(PART_PATTERN)):
                table = pq.read_table(part, schema=schema)
                bad += table.column("embedding").null_count
                writer.write_table(table)

    replace_file(output, write)
    return bad
