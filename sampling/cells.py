"""The pictures of sweeps on disk: one PNG per cell, named by everything that decides its pixels."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ..training.atomic import write_bytes
from ..training.file_names import content_key
from .plan import BASE, Cell

FORMAT = 1
CHUNK = "glitch_lora"
# As Save Image: the fastest level that still halves the size.
COMPRESSION = 4


@dataclass(frozen=True)
class Weights:
    """What names the weights of a sweep, JSON values that change whenever a picture could change.

    model, clip, vae: identities of what came in (`host.identity`). checkpoints: step -> hash of the LoRA file.
    embeddings: name in a prompt -> hash of its file, None where there is no such file.
    """

    model: dict[str, Any]
    clip: dict[str, Any]
    vae: dict[str, Any]
    checkpoints: Mapping[int, str]
    embeddings: Mapping[str, str | None] = field(default_factory=dict)


def cell_key(cell: Cell, weights: Weights) -> str:
    """Return the name of a cell's picture: equal for equal pixels, whichever sweep of the run asks.

    The checkpoint counts by its content, not its step: a run trained anew renders anew.
    """
    lora = None if cell.checkpoint == BASE else weights.checkpoints[cell.checkpoint]
    texts = f"{cell.prompt} {cell.negative}"
    named = {name: file for name, file in weights.embeddings.items() if f"embedding:{name}" in texts}
    parts = {"model": weights.model, "clip": weights.clip, "vae": weights.vae, "lora": lora, "embeddings": named}
    return content_key({"format": FORMAT, "cell": cell.to_json() | {"checkpoint": None}, **parts})[:32]


def write_cell(
    path: Path, key: str, picture: Image.Image, seconds: float, settings: Mapping[str, Any], chunks: Mapping[str, str]
) -> Path:
    """Write a finished picture, whole or not at all; returns `path`. Raises OSError saying how much room it needs.

    seconds: rendering time. settings: JSON values readers may want; chunks: PNG text, such as ComfyUI's prompt and
    workflow, so that the file dropped on the canvas opens its graph.
    """
    info = PngImagePlugin.PngInfo()
    for name, text in chunks.items():
        info.add_text(name, text)
    info.add_text(CHUNK, json.dumps({"key": key, "seconds": round(seconds, 4), **settings}))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=info, compress_level=COMPRESSION)
    return write_bytes(path, buffer.getvalue())


def read_cell(path: Path, key: str) -> tuple[Image.Image, float] | None:
    """Return (picture, seconds it took), or None when the file is missing, damaged or another cell's."""
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            image.verify()  # checksums up to the last byte, which decoding does not need
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            about = json.loads(image.text[CHUNK])  # type: ignore[attr-defined]
            if about["key"] != key:
                return None
            return image.convert("RGB"), float(about["seconds"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SyntaxError, Image.DecompressionBombError):
        return None


def to_picture(pixels: NDArray[np.floating[Any]]) -> Image.Image:
    """Return float pixels [H, W, 3] in 0..1 as 8 bits, rounded down as Save Image does."""
    return Image.fromarray(np.clip(255.0 * pixels, 0, 255).astype(np.uint8))
