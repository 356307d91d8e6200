"""What is in an embedding file, as plain tensors and values: nothing that a file brings is ever run."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from .lora_file import check_safetensors
from .words import bundled, split_bundle

LARGEST_BYTES = 256 * 2**20  # 1024 vectors for each of several encoders are a few dozen MiB
_SAFE_SUFFIXES = (".safetensors", ".sft")


def embedding_contents(path: Path) -> tuple[Any, dict[str, str]]:
    """Return (what the file holds: a dict, a list of dicts or a tensor; its safetensors metadata or {}).

    Of a LoRA file that carries embeddings only those are read. Pickled files (``.pt``, ``.bin``) are read as weights
    only, which rebuilds tensors and plain values and refuses everything else. Raises ValueError with one sentence for
    a file that is missing, damaged, too large or not of these formats.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise ValueError(unreadable(path, error.strerror or str(error))) from error
    if path.suffix.lower() in _SAFE_SUFFIXES or start[8:] == b"{":
        return _from_safetensors(path)
    return _from_pickle(path), {}


def unreadable(path: Path, why: str) -> str:
    """Return the sentence told of a file that holds no embedding."""
    allowed = "a whole textual inversion file (.safetensors, .pt or .bin), copy it again or choose another one"
    return f"{path.name}: got a file that cannot be read ({why}), allowed {allowed}"


def _from_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    header = check_safetensors(path)
    header.pop("__metadata__", None)
    names = list(bundled(split_bundle(header)[1]) or header)
    try:
        _check_size(path, sum(end - start for start, end in (header[name]["data_offsets"] for name in names)))
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name).clone() for name in names}, dict(file.metadata() or {})
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(unreadable(path, _first_line(error))) from error


def _from_pickle(path: Path) -> Any:
    from torch.nn import ParameterDict

    try:
        _check_size(path, _unpacked_bytes(path))
        # The first programs for textual inversion kept their vectors in this container, which holds only tensors.
        with torch.serialization.safe_globals([ParameterDict, set]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except _TooLarge:
        raise
    except Exception as error:  # a file from a stranger may make the reader raise anything
        raise ValueError(unreadable(path, _why(error))) from error


def _why(error: Exception) -> str:
    if "weights_only" in str(error):
        return "it is no pickle of tensors and plain values, and nothing else is let in: it could hold a program"
    return _first_line(error)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:160] if text else type(error).__name__


def _unpacked_bytes(path: Path) -> int:
    size = path.stat().st_size
    if not zipfile.is_zipfile(path):
        return size
    with zipfile.ZipFile(path) as archive:
        return max(size, sum(entry.file_size for entry in archive.infolist()))


class _TooLarge(ValueError):
    """The file is no embedding, whatever it holds."""


def _check_size(path: Path, size: int) -> None:
    if size > LARGEST_BYTES:
        allowed = f"up to {LARGEST_BYTES:,}, choose a textual inversion file"
        raise _TooLarge(f"{path.name}: got {size:,} bytes of tensors, allowed for embeddings {allowed}")
