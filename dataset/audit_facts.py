"""What is measured of a picture file, once, whatever is then made of it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..metrics.blocks import blockiness
from ..metrics.copies import Hash, perceptual_hash
from ..metrics.planes import Picture, luma
from ..metrics.sharpness import blur
from .audit_jpeg import missing_steps, table_quality
from .files import stamp
from .images import BrokenImage, Colour, alpha_of, decoded, opened

THUMB = 64

_LARGEST = 1280  # pixels of the longer side at which sharpness is measured
_BLOCKS_SEEN = 1024
_REMEMBERED = 4096
_THREADS = 2  # decoding and arithmetic leave Python's lock

Key = tuple[tuple[str, int, int], Colour]
_LOCK = threading.Lock()
_KNOWN: OrderedDict[Key, "Facts"] = OrderedDict()


@dataclass(frozen=True, eq=False)
class Facts:
    """What a picture file is.

    size: (width, height) in pixels, upright. mode: Pillow's name of what is stored. transparent: some of it shows the
    background. quality: of the JPEG file, None for other formats. blocks: `blockiness`, 1 for none; missing: see
    `missing_steps`. blur: 0 sharp to 1. dark, light: luma 0..255 at 1 % and 99 %. hashes: perceptual hash of the
    picture and of its mirror image. thumb: the picture squeezed to `THUMB` pixels square.
    """

    size: tuple[int, int]
    mode: str
    transparent: bool
    quality: int | None
    blocks: float
    missing: float
    blur: float
    dark: float
    light: float
    hashes: tuple[Hash, Hash]
    thumb: Picture


def examine(path: Path, background: Colour = (255, 255, 255)) -> Facts:
    """Return what the file at `path` is; remembered as long as the file does not change. Raises BrokenImage."""
    try:
        key = (stamp(path), background)
    except OSError as error:
        raise BrokenImage(f"cannot be read: {error.strerror}") from error
    with _LOCK:
        known = _KNOWN.get(key)
    if known is None:
        known = _measured(path, background)
        with _LOCK:
            _KNOWN[key] = known
            while len(_KNOWN) > _REMEMBERED:
                _KNOWN.popitem(last=False)
    return known


def examine_all(
    files: Sequence[tuple[Path, Colour]], watch: Callable[[int, int], None] | None = None
) -> list[Facts | BrokenImage]:
    """Return what each file is, or why it cannot be read; `watch(done, total)` is called after each."""
    found: list[Facts | BrokenImage] = []
    pool = ThreadPoolExecutor(_THREADS)
    try:
        for done, facts in enumerate(pool.map(_examined, files), start=1):
            found.append(facts)
            if watch:
                watch(done, len(files))
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def _examined(file: tuple[Path, Colour]) -> Facts | BrokenImage:
    try:
        return examine(*file)
    except BrokenImage as error:
        return error


def _measured(path: Path, background: Colour) -> Facts:
    with opened(path) as image:
        mode, quality = image.mode, table_quality(image)
        image.load()
        alpha = alpha_of(image)
        transparent = alpha is not None and int(np.asarray(alpha).min()) < 255
        del alpha
        picture = decoded(image, background)
    pixels = np.asarray(_middle(picture))
    blocks, missing = blockiness(pixels), missing_steps(pixels)
    size = picture.size
    picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS, reducing_gap=2.0)
    sharpness = blur(np.asarray(picture))
    small = np.asarray(picture.resize((4 * THUMB, 4 * THUMB), Image.Resampling.BOX))
    dark, light = np.percentile(luma(small), (1, 99))
    hashes = (perceptual_hash(small), perceptual_hash(small[:, ::-1]))
    thumb = np.asarray(Image.fromarray(small).reduce(4))
    return Facts(size, mode, transparent, quality, blocks, missing, sharpness, float(dark), float(light), hashes, thumb)


def _middle(picture: Image.Image) -> Image.Image:
    """Return at most 1024x1024 pixels of the middle: enough to see blocks."""
    left, top = (max(0, side - _BLOCKS_SEEN) // 2 for side in picture.size)
    return picture.crop((left, top, min(picture.width, left + _BLOCKS_SEEN), min(picture.height, top + _BLOCKS_SEEN)))
