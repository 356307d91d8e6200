"""Damage inside a PNG file: rows that are decoded with another filter than they were written with."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from ..registry import Parameter, operation
from .growing_bands import in_growing_bands, spread_places

_FILTERS = ("none", "sub", "up", "average", "paeth")  # in the numbering of the PNG specification, section 9
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@operation(
    "databending",
    Parameter("fraction", 0.03, "This part of the rows is damaged; in most filters the damage spreads", 0.0, 1.0, 0.01),
    Parameter("damage", "filter types", "What is changed in the file", choices=("filter types", "filtered bytes")),
    Parameter(
        "written_with",
        "average",
        "The filter that decides how damage spreads: sub to the right, up downwards, average fading, paeth like petals",
        choices=_FILTERS[1:],
    ),
    Parameter("read_with", "any", "The filter damaged rows are read with", choices=("any", *_FILTERS)),
    tag="png",
    measured_by="chroma_noise",
    version=2,
)
def png_filter(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    fraction: float,
    damage: str,
    written_with: str,
    read_with: str,
) -> Image.Image:
    """PNG filter glitch: runs of colour to the right, drips downwards, petals, in acid colours.

    Severity is the part of the damaged rows that are shown, in bands that grow at drawn places.
    """
    pixels = np.asarray(image)
    written = _FILTERS.index(written_with)
    rows = _with_filter(pixels, written)
    hit = (spread_places(rng, max(1, round(fraction * len(rows)))) * len(rows)).astype(int)
    if damage == "filter types":
        rows[hit, 0] = _wrong_filters(rng, len(hit), written, read_with)
    else:
        rows[hit, rng.integers(1, rows.shape[1], len(hit))] ^= rng.integers(1, 256, len(hit), np.uint8)
    return in_growing_bands(rng, image, _decoded(rows), severity)


def _wrong_filters(rng: np.random.Generator, count: int, written: int, read_with: str) -> np.ndarray:
    """Return a filter for each damaged row that is not the one it was written with."""
    drawn = (written + rng.integers(1, len(_FILTERS), count)) % len(_FILTERS)
    wanted = written if read_with == "any" else _FILTERS.index(read_with)
    return drawn if wanted == written else np.full(count, wanted)


def _with_filter(pixels: np.ndarray, number: int) -> np.ndarray:
    """Return rows of a PNG file, [H, 1 + 3 W] in uint8: the number of the filter, then the filtered bytes."""
    height, width, _ = pixels.shape
    here = pixels.reshape(height, 3 * width)
    around = np.zeros((height + 1, 3 * width + 3), np.uint8)
    around[1:, 3:] = here
    left, up, corner = around[1:, :-3], around[:-1, 3:], around[:-1, :-3]
    rows = np.empty((height, 3 * width + 1), np.uint8)
    rows[:, 0] = number
    rows[:, 1:] = here - _predicted(number, left, up, corner)  # modulo 256, as in the file
    return rows


def _predicted(number: int, left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    if number in (1, 2):
        return left if number == 1 else up
    if number == 3:
        return ((left.astype(np.uint16) + up) >> 1).astype(np.uint8)
    by_left, by_up = up.astype(np.int16) - corner, left.astype(np.int16) - corner
    by_corner = np.abs(by_left + by_up)
    np.abs(by_left, out=by_left)
    np.abs(by_up, out=by_up)
    above = np.where(by_up <= by_corner, up, corner)
    return np.where((by_left <= by_up) & (by_left <= by_corner), left, above)


def _decoded(rows: np.ndarray) -> Image.Image:
    """Return the RGB image Pillow reads from a PNG file with these rows."""
    height, width = len(rows), rows.shape[1] // 3
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 0)) + _chunk(b"IEND", b"")
    with Image.open(io.BytesIO(_SIGNATURE + data), formats=("PNG",)) as opened:
        return opened.convert("RGB")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
