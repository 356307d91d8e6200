"""A dataset from pictures in memory, and back."""

import hashlib
import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .dataset import Dataset, Item
from .files import content_key
from .images import MIN_SIDE


def dataset_from_images(images: Sequence[np.ndarray], captions: Sequence[str], root: Path) -> Dataset:
    """Return a dataset of pictures written as PNG into a folder of `root` that is named by their content.

    images: float arrays [H, W, 3], 0..1; values outside are clipped. captions: one each, one for all, or none.
    The same pictures are written once. Raises ValueError on a wrong shape or count, or pixels that are not finite, and
    OSError naming the file, the bytes needed and the bytes free when one cannot be written.
    """
    if not images:
        raise ValueError("images: got none, allowed is one or more, connect a node that gives pictures")
    texts = _one_each(captions, len(images))
    pictures = [_eight_bit(image, number) for number, image in enumerate(images, start=1)]
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(repr(picture.shape).encode() + picture.tobytes())
    folder = root / digest.hexdigest()[:24]
    items = [_written(folder, number, *pair) for number, pair in enumerate(zip(pictures, texts, strict=True), start=1)]
    return Dataset(tuple(items))


def _one_each(captions: Sequence[str], count: int) -> list[str]:
    if len(captions) in (0, 1):
        return [*captions, ""][:1] * count
    if len(captions) != count:
        raise ValueError(
            f"captions: got {len(captions)} for {count} images, allowed {count}, 1 or none, make them match"
        )
    return list(captions)


def _eight_bit(image: np.ndarray, number: int) -> np.ndarray:
    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < MIN_SIDE:
        raise ValueError(
            f"image {number}: got shape {tuple(image.shape)}, allowed [height, width, 3], {MIN_SIDE} pixels or more, "
            "convert it"
        )
    if not np.isfinite(image).all():
        raise ValueError(f"image {number}: got pixels that are not finite, allowed 0 to 1, repair what made it")
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _written(folder: Path, number: int, picture: np.ndarray, caption: str) -> Item:
    path = folder / f"{number:05}.png"
    if not path.is_file():
        content = io.BytesIO()
        Image.fromarray(picture).save(content, format="PNG", compress_level=1)
        _write(path, content.getvalue())
    size = (picture.shape[1], picture.shape[0])
    return Item(path, path.name, caption.strip(), 1, content_key(path), size)


def _write(path: Path, content: bytes) -> None:
    """Write a whole file or none, under a temporary name first."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, _not_written(path, len(content), error)) from error


def _not_written(path: Path, size: int, error: OSError) -> str:
    try:
        free = f"{shutil.disk_usage(path.parent).free:,}"
    except OSError:
        free = "an unknown number of"
    reason = error.strerror or str(error)
    return (
        f"images: {path} could not be written ({reason}); it needs {size:,} bytes and {free} bytes are free, "
        "make room in ComfyUI's temp folder, then queue again"
    )
