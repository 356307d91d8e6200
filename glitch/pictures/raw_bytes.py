"""Damage to pictures as files without any structure: a hex editor on a bitmap."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from ..registry import Parameter, operation
from .growing_bands import in_growing_bands, spread_places

_EDITS = ("replace", "insert", "delete", "swap")


@operation(
    "databending",
    Parameter("edits", 12, "How many runs of bytes are edited", 1, 200),
    Parameter("run", 0.02, "Length of the longest run, as a part of the picture", 0.0, 0.25, 0.001),
    Parameter(
        "edit",
        "mixed",
        "replace: by bytes from elsewhere; insert, delete: all that follows moves; swap: with a run from elsewhere",
        choices=("mixed", *_EDITS),
    ),
    tag="bytes",
    measured_by="distance",
    version=2,
)
def byte_bend(
    image: Image.Image, rng: np.random.Generator, severity: float, *, edits: int, run: float, edit: str
) -> Image.Image:
    """Bytes bent in a raw bitmap: rows shear and channels turn behind every cut, pieces are out of place.

    Severity is the part of the damaged rows that are shown, in bands that grow at drawn places.
    """
    source = np.asarray(image).reshape(-1)
    places = (spread_places(rng, edits) * len(source)).astype(int)
    lengths = 1 + (rng.random(edits) * run * len(source)).astype(int)
    elsewhere = (rng.random(edits) * np.maximum(1, len(source) - lengths)).astype(int)
    drawn = rng.integers(len(_EDITS), size=edits)
    kinds = [_EDITS[number] for number in drawn] if edit == "mixed" else [edit] * edits
    bent = _edited(source, list(zip(kinds, places, lengths, elsewhere, strict=True)))
    return in_growing_bands(rng, image, Image.fromarray(bent.reshape(image.height, image.width, 3)), severity)


def _edited(source: np.ndarray, edits: list[tuple[str, int, int, int]]) -> np.ndarray:
    """Return the bytes after all edits (kind, place, length, another place), as many as before.

    What is missing at the end is filled from the beginning, as a reader of a ring of memory would.
    """
    base = source.copy()
    for kind, place, length, other in edits:
        if kind == "swap":
            _swap(base, place, length, other)
    bent = np.concatenate(list(_pieces(base, [edit for edit in edits if edit[0] != "swap"])))
    return np.resize(bent, len(source)) if len(bent) else base


def _pieces(base: np.ndarray, edits: list[tuple[str, int, int, int]]) -> Iterator[np.ndarray]:
    """Yield what the edited bytes are put together from, no more than about as many as there were."""
    done, length_so_far = 0, 0
    for kind, place, length, other in edits:
        if place < done or length_so_far >= len(base):
            continue
        yield base[done:place]
        length_so_far += place - done
        done = place if kind == "insert" else place + length
        if kind != "delete":
            yield base[other : other + length]
            length_so_far += length
    yield base[done:]


def _swap(octets: np.ndarray, place: int, length: int, other: int) -> None:
    """Exchange two runs of the bytes in place; runs that overlap, or reach the end, are cut short."""
    first, second = sorted((place, other))
    length = min(length, second - first, len(octets) - second)
    kept = octets[first : first + length].copy()
    octets[first : first + length] = octets[second : second + length]
    octets[second : second + length] = kept
