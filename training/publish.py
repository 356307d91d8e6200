"""A checkpoint as a file of its own, under a name of the user's, where Load LoRA finds it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from .atomic import write_beside
from .file_names import safe_name
from .lora_file import DTYPES, cast_lora, load_safetensors, safetensors_bytes
from .recipe import SaveDtype
from .run import Run

Keep = Literal["keep"]
DTYPE_CHOICES: tuple[str, ...] = (*get_args(Keep), *get_args(SaveDtype))


@dataclass(frozen=True)
class SavedLora:
    """What was saved. name: as Load LoRA lists it, relative to the folder of LoRA files. trigger: a word or ""."""

    path: Path
    name: str
    step: int
    trigger: str

    def report(self) -> str:
        """Return what was saved and how to use it."""
        use = f"Put {self.trigger} into the prompt." if self.trigger else "It was trained without a trigger word."
        return f"Saved step {self.step} as {self.name} ({self.path.stat().st_size:,} bytes). {use}"


def save_lora(run: Run, step: int, loras_folder: Path, name: str = "", dtype: str = "keep") -> SavedLora:
    """Save the checkpoint of `step` (-1: the last) in `loras_folder`, metadata and all, as `name`.safetensors.

    name: "sub/folder/name" makes folders; "" takes the checkpoint's own. dtype: "keep" or a key of `DTYPES`. Nothing
    is overwritten: other bytes under the same name get a counter, the same bytes are one file. Raises ValueError for
    a step or dtype that is not there, OSError when the disk is full.
    """
    if dtype not in DTYPE_CHOICES:
        raise ValueError(f"dtype: got {dtype!r}, allowed {list(DTYPE_CHOICES)}, choose one of them")
    checkpoint = run.checkpoint(step)
    tensors, metadata = load_safetensors(checkpoint.path)
    if dtype == "keep":
        content = checkpoint.path.read_bytes()
    else:
        content = safetensors_bytes(cast_lora(tensors, DTYPES[dtype]), metadata)
    *folders, last = [safe_name(part, "lora") for part in _parts(name)] or [checkpoint.path.stem]
    path = write_beside(loras_folder.joinpath(*folders), last.removesuffix(".safetensors"), ".safetensors", content)
    trigger = metadata.get("glitch_lora.trigger") or run.trigger
    return SavedLora(path, str(path.relative_to(loras_folder)), checkpoint.step, trigger)


def _parts(name: str) -> list[str]:
    return [part for part in name.strip().replace("\\", "/").split("/") if part.strip(" .")]
