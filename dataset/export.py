"""A dataset as a folder that other trainers read too: written once, whole or not at all, never over another."""

import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .caption_files import METADATA_NAME
from .dataset import Dataset
from .manifest import Measure, manifest_row
from .sample import Sample
from .selection import MAX_REPEATS
from .waiting import waiting_steps, without_waiting

MANIFEST_NAME = "manifest.jsonl"

_NOT_IN_NAMES = re.compile(r"[^\w-]+")
_NOT_IN_FOLDERS = re.compile(r"[^\w() -]+")
_STEM_BYTES = 60
_COMPRESSION = 4  # of zlib: smaller files take far longer


@dataclass(frozen=True)
class Saved:
    """A folder that was written, or found with the same content. files: the pictures in it.

    waiting: damage that no file can hold, by name, and how many of the dataset's pictures it was meant for.
    """

    folder: Path
    files: int
    new: bool
    waiting: tuple[tuple[str, int], ...] = ()


def save_dataset(
    dataset: Dataset,
    places: Iterable[Path],
    variants: int = 1,
    measure: Measure | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Saved:
    """Write every sample after the chain as PNG, its caption as text, and a manifest; return where.

    places: folders to write to, the first that does not exist; one that holds exactly the same is used again. All are
    in one parent. variants: pictures of each item; an item whose variants are all alike is saved once.
    In the folder: ``10_name/0001_cat.png`` and ``0001_cat.txt`` (kohya's naming: the pictures of this subfolder count
    ten times), metadata.jsonl (Hugging Face's imagefolder format), manifest.jsonl (`manifest_row`, with "file" and
    "sha256" of the picture). A caption's line breaks become spaces in the text file: trainers read one line. Damage
    that waits until a sample is encoded is not in the pictures, and the captions do not name it.
    `watch(done, total)` is called after each picture. Raises ValueError without pictures, OSError naming the folder
    when it cannot be written.
    """
    rows: list[dict[str, Any]] = []
    waits = tuple(waiting_steps(dataset).items())
    dataset = without_waiting(dataset)
    numbered = _numbered(dataset.require_items(), variants)
    waiting = iter(places)
    place = next(waiting)
    # Hidden, so that no list shows it while it is being filled.
    temporary = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        for done, (index, variant) in enumerate(numbered, start=1):
            sample = dataset.sample(index, variant)
            row = manifest_row(dataset, index, variant, sample, measure)
            rows.append(_write(temporary, _file_name(dataset, index, variant, place.name), sample, row))
            if watch:
                watch(done, len(numbered))
        _write_lists(temporary, rows)
        return replace(_put(temporary, place, waiting, rows), waiting=waits)
    except OSError as error:
        raise OSError(error.errno, _not_written(place, error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _numbered(dataset: Dataset, variants: int) -> list[tuple[int, int]]:
    if variants < 1:
        raise ValueError(f"variants: got {variants}, allowed 1 or more, change it")
    for item in dataset.items:
        if item.repeats > MAX_REPEATS:
            raise ValueError(
                f"{item.name}: counts {item.repeats} times, allowed up to {MAX_REPEATS}, lower its repeats"
            )
    count = variants if dataset.varies else 1
    return [(index, variant) for index in range(len(dataset)) for variant in range(count)]


def _file_name(dataset: Dataset, index: int, variant: int, name: str) -> str:
    """Return the picture's path in the folder: no dot but the last, as other loaders replace the extension by text."""
    item = dataset.items[index]
    stem = _NOT_IN_NAMES.sub("-", item.name.rsplit("/", 1)[-1].rsplit(".", 1)[0]).strip("-")
    stem = stem.encode("utf-8", "ignore")[:_STEM_BYTES].decode("utf-8", "ignore")
    again = f"_v{variant + 1}" if variant else ""
    folder = _NOT_IN_FOLDERS.sub("-", name).strip(" -") or "pictures"
    return f"{item.repeats}_{folder}/{index + 1:0{len(str(len(dataset))) + 1}}_{stem or 'picture'}{again}.png"


def _write(folder: Path, name: str, sample: Sample, row: dict[str, Any]) -> dict[str, Any]:
    content = io.BytesIO()
    sample.image.save(content, "PNG", compress_level=_COMPRESSION)
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    _write_bytes(path, content.getvalue())
    line = " ".join(sample.caption.splitlines())
    _write_bytes(path.with_suffix(".txt"), line.encode("utf-8", "replace"))
    return {"file": name, "sha256": hashlib.sha256(content.getvalue()).hexdigest(), **row}


def _write_lists(folder: Path, rows: list[dict[str, Any]]) -> None:
    metadata = [{"file_name": row["file"], "text": " ".join(row["caption"].splitlines())} for row in rows]
    _write_bytes(folder / METADATA_NAME, _json_lines(metadata))
    _write_bytes(folder / MANIFEST_NAME, _json_lines(rows))


def _json_lines(rows: list[dict[str, Any]]) -> bytes:
    # ASCII: captions may hold letters that UTF-8 cannot encode, or that other readers take for the end of a line.
    return "".join(json.dumps(row) + "\n" for row in rows).encode("ascii")


def _write_bytes(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _put(temporary: Path, place: Path, more: Iterator[Path], rows: list[dict[str, Any]]) -> Saved:
    while True:
        if not place.exists():
            try:
                os.rename(temporary, place)
                return Saved(place, len(rows), True)
            except OSError:
                if not place.exists():  # else another process was faster
                    raise
        if _is_same(place, temporary, rows):
            return Saved(place, len(rows), False)
        place = next(more)


def _is_same(place: Path, temporary: Path, rows: list[dict[str, Any]]) -> bool:
    """Say whether a folder holds the files that were just written, and none else."""
    here = {path.relative_to(place) for path in place.rglob("*") if path.is_file()}
    there = {path.relative_to(temporary) for path in temporary.rglob("*") if path.is_file()}
    return here == there and all((place / name).read_bytes() == (temporary / name).read_bytes() for name in there)


def _not_written(place: Path, error: OSError) -> str:
    try:
        free = f"{shutil.disk_usage(place.parent).free:,}"
    except OSError:
        free = "an unknown number of"
    reason = error.strerror or str(error)
    return f"dataset: {place} could not be written ({reason}); {free} bytes are free, make room there and queue again"
