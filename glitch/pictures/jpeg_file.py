"""What a JPEG file is made of (ITU-T T.81, annex B), for damage that must leave it a JPEG file."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

QUANTIZATION_TABLES = 0xDB
START_OF_SCAN = 0xDA
_STARTS_OF_FRAME = (0xC0, 0xC1, 0xC2)
END = b"\xff\xd9"


def encoded(image: Image.Image, quality: int, subsampling: str, **settings: Any) -> bytes:
    """Return an RGB image as a JPEG file by Pillow's libjpeg; settings as Pillow names them."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality, subsampling=subsampling, **settings)
    return buffer.getvalue()


def decoded(data: bytes) -> Image.Image | None:
    """Return the RGB image in a damaged JPEG file, or None when libjpeg gives it up."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as opened:
            return opened.convert("RGB")
    except (OSError, SyntaxError, ValueError):
        return None


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of the content of each segment with a length; that of a scan is its header."""
    octets = np.frombuffer(data, np.uint8)
    after_marks = np.flatnonzero(octets[:-1] == 0xFF) + 1
    followers = octets[after_marks]
    markers = after_marks[(followers != 0) & (followers != 0xFF) & ((followers < 0xD0) | (followers > 0xD7))]
    place = 2  # behind the start of the image
    while data[place + 1] != END[1]:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        yield data[place + 1], place + 4, end
        place = int(markers[np.searchsorted(markers, end)]) - 1


def frame_header(data: bytes) -> int:
    """Return where the content of the frame header starts: precision, height, width, number of components, each."""
    return next(start for marker, start, _ in segments(data) if marker in _STARTS_OF_FRAME)


def entropy_coded(data: bytes) -> np.ndarray:
    """Return the places of all entropy-coded bytes that can be overwritten: none is, follows or makes a marker."""
    octets = np.frombuffer(data, np.uint8)
    ends = [(end, start) for marker, start, end in segments(data) if marker == START_OF_SCAN]
    starts = [start - 4 for _, start, _ in segments(data)] + [len(data) - len(END)]
    inside = np.zeros(len(data), bool)
    for begin, _ in ends:
        inside[begin : min(place for place in starts if place >= begin)] = True
    follows = np.concatenate(([False], octets[:-1] == 0xFF))
    return np.flatnonzero(inside & (octets != 0xFF) & ~follows)
