"""How much there is to describe in a picture."""

import io
import zlib

import numpy as np
from PIL import Image

from .planes import Picture, luma, slopes
from .registry import metric


@metric("JPEG size", "bits per pixel")
def jpeg_bits(picture: Picture) -> float:
    """Bits per pixel of the picture as JPEG of quality 75: rises with grain and sharp damage, falls with blur.

    The header of a JPEG file, about 600 bytes, is not counted.
    """
    bits = 8 * (_jpeg_bytes(picture) - _jpeg_bytes(np.full_like(picture[:1, :1], 128)))
    return max(0, bits) / (picture.shape[0] * picture.shape[1])


def _jpeg_bytes(picture: Picture) -> int:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=75)
    return file.tell()


@metric("Packed size", "%")
def zlib_ratio(picture: Picture) -> float:
    """Size of the raw bytes packed by zlib (level 1), of their own size: small where pixels repeat exactly."""
    return 100 * len(zlib.compress(picture.tobytes(), 1)) / picture.size


@metric("Gradient entropy", "bits")
def gradient_entropy(picture: Picture) -> float:
    """Entropy of the lengths of the slopes of luma, in bins of one level: 0 flat, about 3 to 6 for photographs."""
    length = (slopes(luma(picture)) + 0.5).astype(np.int64).ravel()
    share = np.bincount(length) / length.size
    return float(-np.sum(share[share > 0] * np.log2(share[share > 0]))) + 0.0
