"""Pictures and captions as a folder of their own: written once, whole or not at all, and found again by content."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .dataset import Dataset
from .folder import load_folder
from .images import BrokenImage, open_rgb

Pixels = NDArray[np.uint8]


def kept_dataset(root: Path, name: str, pictures: Sequence[Pixels], captions: Sequence[str]) -> Dataset:
    """Return the dataset of a folder below `root` that holds these pictures as PNG and captions as text files.

    pictures: 8-bit [height, width, 3]. The folder is called ``name-key``, the key being a hash of the content, and is
    written if it is not there. One whose files somebody has changed is left as it is, and ``name-key-2`` takes its
    place. Raises OSError naming the folder when it cannot be written, ValueError without pictures and for content that
    does not read back as it was written.
    """
    if not pictures:
        raise ValueError("dataset: got no pictures, allowed one or more, draw or connect some")
    digest = hashlib.sha256()
    for picture, caption in zip(pictures, captions, strict=True):
        digest.update(repr((picture.shape, caption)).encode() + picture.tobytes())
    for folder in _places(root / f"{name}-{digest.hexdigest()[:12]}"):
        new = not folder.exists()
        if new:
            _write(folder, pictures, captions)
        dataset = _loaded(folder)
        if dataset is not None and _is(dataset, pictures, captions):
            return dataset
        if new:
            raise ValueError(
                f"dataset: {folder} does not read back as it was written, allowed 8-bit RGB pictures and captions of "
                "one line, change the captions or look at the disk"
            )
    raise AssertionError("the places never end")


def _places(folder: Path) -> Iterator[Path]:
    yield folder
    for number in count(2):
        yield folder.with_name(f"{folder.name}-{number}")


def _write(folder: Path, pictures: Sequence[Pixels], captions: Sequence[str]) -> None:
    # Hidden, so that no list shows it while it is being filled.
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        for number, (picture, caption) in enumerate(zip(pictures, captions, strict=True), start=1):
            Image.fromarray(picture).save(temporary / f"{number:04}.png")
            (temporary / f"{number:04}.txt").write_text(caption, encoding="utf-8")
        os.rename(temporary, folder)
    except OSError as error:
        if not folder.exists():  # else another process was faster
            reason = f"{folder} could not be written ({error.strerror or error})"
            raise OSError(error.errno, f"dataset: {reason}, make room there and queue again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _loaded(folder: Path) -> Dataset | None:
    try:
        return load_folder(folder)
    except (ValueError, OSError):
        return None


def _is(dataset: Dataset, pictures: Sequence[Pixels], captions: Sequence[str]) -> bool:
    """Say whether a folder still holds what it was written with; how the pictures are packed does not matter."""
    if [item.caption for item in dataset.items] != [caption.strip() for caption in captions]:
        return False
    try:
        found = [np.asarray(open_rgb(item.path)) for item in dataset.items]
    except (BrokenImage, OSError):
        return False
    return all(np.array_equal(one, other) for one, other in zip(found, pictures, strict=True))
