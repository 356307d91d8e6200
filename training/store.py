"""Where encoded pictures and captions wait: in RAM, or on disk by content key."""

import json
from pathlib import Path
from typing import Protocol

from torch import Tensor

from .lora_file import load_safetensors, save_safetensors


class Store(Protocol):
    """Named groups of tensors, kept until they are needed."""

    def get(self, key: str) -> dict[str, Tensor] | None: ...
    def put(self, key: str, tensors: dict[str, Tensor]) -> None: ...


class RamStore:
    """Keeps everything in memory."""

    def __init__(self) -> None:
        self._held: dict[str, dict[str, Tensor]] = {}

    def get(self, key: str) -> dict[str, Tensor] | None:
        """Return the tensors put under `key`, or None."""
        return self._held.get(key)

    def put(self, key: str, tensors: dict[str, Tensor]) -> None:
        """Keep `tensors` under `key`."""
        self._held[key] = tensors


class DiskStore:
    """Keeps each group in a safetensors file named by its key; what is there from another training is used again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> dict[str, Tensor] | None:
        """Return the tensors put under `key`; None when there are none or the file is damaged."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            return load_safetensors(path)[0]
        except (OSError, ValueError):
            return None

    def put(self, key: str, tensors: dict[str, Tensor]) -> None:
        """Write `tensors` under `key`, whole or not at all."""
        save_safetensors(self._path(key), tensors, {"key": json.dumps(key)})

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.safetensors"
