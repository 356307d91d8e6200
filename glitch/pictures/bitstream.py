"""Damage inside a JPEG file: in its compressed data, in its quantisation tables, in its headers."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from ..registry import Parameter, operation
from .growing_bands import in_growing_bands, spread_places
from .jpeg_file import QUANTIZATION_TABLES, decoded, encoded, entropy_coded, segments
from .jpeg_lies import LIES, told

_QUALITY = Parameter("quality", 80, "Quality of the JPEG file that is damaged; lower is coarser", 1, 95)
_ORDER = Parameter(
    "order",
    "baseline",
    "baseline: everything after an error is torn; progressive: errors spread as clouds",
    choices=("baseline", "progressive"),
)


@operation(
    "databending",
    Parameter("errors", 20, "How many bytes are overwritten", 1, 256),
    _QUALITY,
    _ORDER,
    Parameter("restart_marker_rows", 4, "An error ends after so many rows of blocks; 0: it never ends", 0, 64),
    Parameter("region_start", 0.0, "Errors fall behind this part of the file", 0.0, 1.0, 0.01),
    Parameter("region_end", 1.0, "Errors fall before this part of the file", 0.0, 1.0, 0.01),
    tag="bits",
    measured_by="distance",
    version=2,
    codecs=("libjpeg_turbo",),
)
def jpeg_bitstream(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    errors: int,
    quality: int,
    order: str,
    restart_marker_rows: int,
    region_start: float,
    region_end: float,
) -> Image.Image:
    """JPEG data errors: slabs of shifted colour, torn and displaced rows of blocks.

    Severity is the part of the rows that come out of the damaged file, in bands that grow at drawn places. A byte
    never becomes 0xFF nor follows one, so that the decoder meets errors, not markers.
    """
    progressive = {"progressive": True} if order == "progressive" else {}
    data = encoded(image, quality, "4:2:0", restart_marker_rows=restart_marker_rows, **progressive)
    first, last = sorted((region_start, region_end))
    places = first + (last - first) * spread_places(rng, errors)
    damaged = decoded(_overwritten(data, places, rng.integers(0, 0xFF, errors, np.uint8)))
    return in_growing_bands(rng, image, damaged or _given_up(image.size), severity)


def _overwritten(data: bytes, places: np.ndarray, values: np.ndarray) -> bytes:
    """Return the file with bytes at the given parts (0..1) of its compressed data replaced."""
    free = entropy_coded(data)
    octets = np.frombuffer(data, np.uint8).copy()
    if len(free):
        octets[free[np.minimum((places * len(free)).astype(int), len(free) - 1)]] = values
    return octets.tobytes()


@operation(
    "databending",
    Parameter("coefficients", 6, "How many of the 63 waves in each block are multiplied", 1, 63),
    Parameter("factor", 12.0, "What they are multiplied by; below 1 they fade", 0.0, 32.0, 0.1),
    Parameter("tables", "both", "Brightness, colour, or both", choices=("both", "brightness", "colour")),
    Parameter("quality", 85, "Quality of the JPEG file that is damaged; lower is coarser", 1, 95),
    tag="quant",
    measured_by="distance",
    codecs=("libjpeg_turbo",),
)
def quantization_bend(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    coefficients: int,
    factor: float,
    tables: str,
    quality: int,
) -> Image.Image:
    """Bent quantisation tables: plaid and weave over the whole picture, the same wave in every block.

    The entries of the tables are multiplied after encoding, so that the decoder weights these waves wrongly; coarse
    waves are drawn more often than fine ones. Severity moves the factor from 1 to `factor`,
    by equal ratios where it grows.
    """
    data = bytearray(encoded(image, quality, "4:4:4"))
    drawn = [_some_waves(rng, coefficients) for _ in range(2)]
    multiplier = factor**severity if factor > 1 else 1 + (factor - 1) * severity
    for identity, place in _quantization_tables(bytes(data)):
        if tables == "both" or (tables == "brightness") == (identity == 0):
            for wave in drawn[identity]:
                data[place + wave] = int(np.clip(round(data[place + wave] * multiplier), 1, 255))
    return decoded(bytes(data)) or _given_up(image.size)


def _some_waves(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return `count` places of a quantisation table in zigzag order, without the constant, coarse ones likelier."""
    weights = 1 / np.arange(2, 65)
    return 1 + rng.choice(63, count, replace=False, p=weights / weights.sum())


def _quantization_tables(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (which: 0 brightness, 1 colour; place of its first entry) of the tables, of one byte an entry."""
    for marker, start, end in segments(data):
        if marker == QUANTIZATION_TABLES:
            for place in range(start, end, 65):
                yield data[place] & 15, place + 1


@operation(
    "databending",
    Parameter("lie", "any", "What the header says wrongly; any: drawn for each picture", choices=("any", *LIES)),
    Parameter("quality", 90, "Quality of the JPEG file whose header lies; lower is coarser", 1, 95),
    tag="header",
    measured_by="distance",
    version=2,
    codecs=("libjpeg_turbo",),
)
def jpeg_header_lie(
    image: Image.Image, rng: np.random.Generator, severity: float, *, lie: str, quality: int
) -> Image.Image:
    """Lies in a JPEG header: colours of another planet, sheared rows, enlarged blocks, rubble.

    Severity is the part of the rows that are read with the lie, in bands that grow at drawn places. A lie that the
    decoder refuses, or that changes nothing on this picture, gives way to the next one.
    """
    order = [LIES[place] for place in rng.permutation(len(LIES))]
    preferred = sorted(order, key=lambda name: name != lie)  # stable: the others stay as they were drawn
    for name, amount in zip(preferred, rng.random(len(LIES)), strict=True):
        believed = told(name, image, quality, float(amount))
        if believed is not None:
            return in_growing_bands(rng, image, believed, severity)
    return image.copy()


def _given_up(size: tuple[int, int]) -> Image.Image:
    """Return the grey that is left of a file no decoder takes."""
    return Image.new("RGB", size, (128, 128, 128))
