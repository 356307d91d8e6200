"""Has a picture been a JPEG of low quality? From its tables, and from the traces that stay when it is saved again."""

import io
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..metrics.planes import Picture, luma

Waves = NDArray[np.float32]

_BLOCK = 8
_LOOK_AT = 256  # pixels: as much of the middle is enough
_SILENT = 2.0  # levels: rounding to whole values makes waves up to here
_FEWEST = 0.01


def table_quality(image: Any) -> int | None:
    """Return the quality, 1 to 100 in libjpeg's count, that a JPEG file's brightness table stands for; None for others.

    From the sum of the table against that of quality 50, which libjpeg scales by 50 / quality below 50 and by
    2 - quality / 50 above; steps at the limit of 255 are left out. Tables of other makers get the quality that is as
    coarse.
    """
    tables = getattr(image, "quantization", None)
    if not tables:
        return None
    pairs = [(step, usual) for step, usual in zip(tables[min(tables)], _standard_table(), strict=True) if step < 255]
    if not pairs:
        return 1
    scale = sum(step for step, _ in pairs) / sum(usual for _, usual in pairs)
    return round(max(1.0, min(100.0, 50 / scale if scale > 1 else 100 - 50 * scale)))


def missing_steps(picture: Picture) -> float:
    """Return how completely small waves are missing on one 8x8 grid: 0 after JPEG up to quality 60, 1 without.

    Of the cosine waves of luma's blocks, the share between silence and three quarters of quality 50's step, on the
    grid where it is smallest, over its median on all 64 grids (after Fan and de Queiroz 2003, "Identification of
    bitmap compression history"). Unlike block edges it is seen in rough textures too; a picture without fine detail
    gives 1. Looks at the middle 256x256 pixels.
    """
    plane = _middle(luma(picture))
    if min(plane.shape) < 4 * _BLOCK:
        return 1.0
    shares = [_small_waves(plane[top:, left:]) for top in range(_BLOCK) for left in range(_BLOCK)]
    usual = float(np.median(shares))
    return min(shares) / usual if usual >= _FEWEST else 1.0


def _middle(plane: Waves) -> Waves:
    top, left = ((side - min(side, _LOOK_AT)) // 2 for side in plane.shape)
    return plane[top : top + _LOOK_AT, left : left + _LOOK_AT]


def _small_waves(plane: Waves) -> float:
    from scipy import fft

    height, width = (side // _BLOCK for side in plane.shape)
    blocks = plane[: height * _BLOCK, : width * _BLOCK].reshape(height, _BLOCK, width, _BLOCK)
    sizes = np.abs(fft.dctn(blocks, axes=(1, 3), norm="ortho"))
    small = (sizes > _SILENT) & (sizes < _limits())
    return float(small.mean())


@cache
def _limits() -> Waves:
    """Return the size below which quality 50 leaves no wave, for each place in blocks [1, 8, 1, 8]; 0 for the mean."""
    limits = 0.75 * np.array(_standard_table(), np.float32).reshape(1, _BLOCK, 1, _BLOCK)
    limits[0, 0, 0, 0] = 0
    return limits


@cache
def _standard_table() -> tuple[int, ...]:
    """Return the 64 steps of libjpeg's quality 50, in rows: Annex K of the JPEG standard."""
    buffer = io.BytesIO()
    Image.new("L", (_BLOCK, _BLOCK)).save(buffer, "JPEG", quality=50)
    with Image.open(buffer) as image:
        return tuple(image.quantization[0])  # type: ignore[attr-defined]
