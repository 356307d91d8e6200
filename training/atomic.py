"""Files appear whole or not at all: temporary name in the same folder, flush, fsync, rename."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .file_names import numbered_name

TEMPORARY_SUFFIX = ".partial"


def write_file(path: Path, write: Callable[[Path], None], size: int) -> Path:
    """Let `write` make a temporary file beside `path`, then put it in place; returns `path`.

    size: bytes the file will take, told when the disk is full. Raises OSError naming the file, the bytes needed and
    the bytes free; a file that was already at `path` is then untouched and the temporary file is gone.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        _flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, not_saved_message(path, size, error)) from error
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(path.parent)
    return path


def write_bytes(path: Path, content: bytes) -> Path:
    """Write `content` to `path`, whole or not at all."""
    return write_file(path, lambda temporary: _write_all(temporary, content), len(content))


def write_beside(
    folder: Path, stem: str, suffix: str, content: bytes, is_taken: Callable[[Path], bool] = lambda path: False
) -> Path:
    """Write `content` as a new file called `stem` and `suffix`; returns its path.

    A file with the same bytes is used again; one with other bytes is never overwritten: the name then gets a counter,
    as one does of which `is_taken` says that it is needed elsewhere.
    """
    for path in numbered_name(folder, stem, suffix):
        if is_taken(path):
            continue
        if not path.exists():
            return write_bytes(path, content)
        if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
            return path
    raise AssertionError("numbered_name never ends")


def write_json(path: Path, value: Any) -> Path:
    """Write `value` as readable JSON (sorted keys, UTF-8), whole or not at all."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    return write_bytes(path, (text + "\n").encode())


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that a killed process left in `folder`."""
    for path in folder.glob(f"*{TEMPORARY_SUFFIX}"):
        path.unlink(missing_ok=True)


def _write_all(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut; Windows has no handle for a folder and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse; the file itself is already safe
        pass
    finally:
        os.close(handle)


def not_saved_message(path: Path, size: int, error: OSError) -> str:
    """Return the sentence told when `path`, which needs `size` bytes, could not be written."""
    try:
        free = f"{shutil.disk_usage(path.parent).free:,}"
    except OSError:
        free = "an unknown number of"
    reason = error.strerror or str(error)
    return (
        f"{path}: not saved ({reason}); it needs {size:,} bytes and {free} bytes are free, "
        "make room or choose another output folder, then queue again: what was saved before is untouched"
    )
