"""What a file holds, remembered as long as the file does not change."""

import hashlib
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TypeVar

from .images import inspect_image

_Stamp = tuple[str, int, int]
_Value = TypeVar("_Value")
_REMEMBERED = 50_000
_LOCK = threading.Lock()
_KEYS: OrderedDict[_Stamp, str] = OrderedDict()
_SIZES: OrderedDict[_Stamp, tuple[int, int]] = OrderedDict()


def stamp(path: Path) -> _Stamp:
    """Return (path, bytes, modification time in ns): equal stamps are taken for equal contents."""
    found = path.stat()
    return str(path), found.st_size, found.st_mtime_ns


def is_file_inside(folder: Path, path: Path) -> bool:
    """Say whether `path` is a regular file that lies in `folder` once every link is followed."""
    root, real = os.path.realpath(folder), os.path.realpath(path)
    return os.path.isfile(real) and Path(real).is_relative_to(root)


def content_key(path: Path) -> str:
    """Return the SHA-256 of the file's bytes as hex; read again only when its stamp changed."""
    mark = stamp(path)
    known = _recall(_KEYS, mark)
    if known is None:
        with path.open("rb") as file:
            known = hashlib.file_digest(file, "sha256").hexdigest()
        _remember(_KEYS, mark, known)
    return known


def picture_size(path: Path) -> tuple[int, int]:
    """Return `inspect_image(path)`, decoding again only when the stamp changed. Raises BrokenImage."""
    mark = stamp(path)
    known = _recall(_SIZES, mark)
    if known is None:
        known = inspect_image(path)
        _remember(_SIZES, mark, known)
    return known


def _recall(memory: OrderedDict[_Stamp, _Value], mark: _Stamp) -> _Value | None:
    with _LOCK:
        return memory.get(mark)


def _remember(memory: OrderedDict[_Stamp, _Value], mark: _Stamp, value: _Value) -> None:
    with _LOCK:
        memory[mark] = value
        while len(memory) > _REMEMBERED:
            memory.popitem(last=False)
