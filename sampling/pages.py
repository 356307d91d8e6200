"""Grid pages as files: whole or not at all, with the graph inside so that a page dropped on the canvas opens it."""

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, PngImagePlugin

from ..training.atomic import write_bytes
from ..training.file_names import safe_name


def save_pages(
    pages: Sequence[Image.Image], folder: Path, stem: str = "grid", chunks: Mapping[str, str] | None = None
) -> list[Path]:
    """Write `<folder>/<stem>-<page>.png` from page 1 on; pages that an earlier, longer grid left there are removed.

    chunks: PNG text. Raises OSError saying how much room is needed.
    """
    paths = [
        write_bytes(folder / f"{stem}-{number}.png", _encoded(page, chunks or {}))
        for number, page in enumerate(pages, start=1)
    ]
    for path in folder.glob(f"{_quoted(stem)}-*.png"):
        if path not in paths and re.fullmatch(r"\d+", path.stem.removeprefix(f"{stem}-")):
            path.unlink(missing_ok=True)
    return paths


def stem_for(pages: Sequence[Image.Image], title: str) -> str:
    """Return a file name without ending that is the same for the same pictures: the title and a hash of the pixels."""
    digest = hashlib.sha256()
    for page in pages:
        digest.update(repr(page.size).encode() + page.tobytes())
    return f"{safe_name(title, 'grid')}-{digest.hexdigest()[:8]}"


def _encoded(page: Image.Image, chunks: Mapping[str, str]) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in chunks.items():
        info.add_text(name, text)
    buffer = io.BytesIO()
    page.save(buffer, "PNG", pnginfo=info, compress_level=4)
    return buffer.getvalue()


def _quoted(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)
