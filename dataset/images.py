"""Reading a picture file as 8-bit RGB, right for every mode Pillow knows."""

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

Colour = tuple[int, int, int]

MAX_PIXELS = 110_000_000  # so that no file takes more than about 1 GB of memory
MIN_SIDE = 8

_EXIF_ORIENTATION = 0x0112
_QUARTER_TURNS = (5, 6, 7, 8)
_UPRIGHT = {  # EXIF orientation: what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# EPS starts Ghostscript, an outside program; the others are recognised by Pillow but never decoded.
_NOT_READ = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"}
# Their decoders hold the picture several times over.
_MAX_PIXELS_OF = dict.fromkeys(("WEBP", "AVIF", "GIF", "JPEG2000"), 30_000_000)
_BAND_PIXELS = 4_000_000  # converted at a time: a conversion makes several copies
_STRICTNESS = threading.Lock()
_strict_readers = 0
_lenient_before = False


def parse_colour(text: str) -> Colour:
    """Return (red, green, blue), 0..255, of ``#rrggbb``. Raises ValueError."""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise ValueError(f"colour: got {text!r}, allowed is # and six hexadecimal digits, e.g. #ffffff, change it")
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


class BrokenImage(ValueError):
    """A picture file that cannot be used; the message says why, without the file's name."""


@cache
def readable_formats() -> tuple[str, ...]:
    """Return the names of the formats that are tried, e.g. ``("AVIF", ..., "PNG", ...)``."""
    Image.init()
    return tuple(sorted(name for name in Image.OPEN if name not in _NOT_READ))


@cache
def readable_extensions() -> frozenset[str]:
    """Return the lower-case file extensions of those formats, with the dot."""
    formats = readable_formats()
    return frozenset(extension.lower() for extension, name in Image.registered_extensions().items() if name in formats)


def max_pixels(kind: str | None) -> int:
    """Return how many pixels a file of that format may have."""
    return _MAX_PIXELS_OF.get(kind or "", MAX_PIXELS)


def inspect_image(path: Path, min_side: int = MIN_SIDE) -> tuple[int, int]:
    """Return (width, height) of what `open_rgb` gives, having decoded and converted the file once, as that does.

    A JPEG is read to its end, but only an eighth of its size is computed. Raises BrokenImage when the file is
    unreadable, truncated, larger than `max_pixels` or has a side below `min_side`.
    """
    with opened(path) as image:
        whole = image.size
        if min(whole) < min_side:
            raise BrokenImage(f"is {whole[0]}x{whole[1]} pixels, the smallest side allowed is {min_side}")
        lessened = image.draft("RGB", (max(1, whole[0] // 8), max(1, whole[1] // 8)))
        turned = _orientation(image) in _QUARTER_TURNS
        found = decoded(image)
        if lessened is None:
            return found.size
    return whole[::-1] if turned else whole


def open_rgb(path: Path, background: Colour = (255, 255, 255)) -> Image.Image:
    """Return the file's first frame as a new 8-bit RGB image.

    EXIF-rotated; 16-bit greys are divided by 257, an embedded colour profile is converted to sRGB, and transparency
    is laid over `background`. Raises BrokenImage.
    """
    with opened(path) as image:
        return decoded(image, background)


def to_rgb(image: Image.Image, profile: bytes | None = None, background: Colour = (255, 255, 255)) -> Image.Image:
    """Return `image` (any mode) as a new 8-bit RGB image; `profile` is its ICC profile. Raises BrokenImage."""
    if image.width * image.height <= _BAND_PIXELS:
        return _converted(image, profile, background)
    whole = Image.new("RGB", image.size)
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        whole.paste(_converted(band, profile, background), (0, top))
    return whole


def _converted(image: Image.Image, profile: bytes | None, background: Colour) -> Image.Image:
    image = _eight_bit(image)
    alpha = alpha_of(image)
    if alpha is not None and image.mode != "RGBA":
        image = image.convert("RGBA")
    if alpha is not None or image.mode == "P":
        image = image.convert("RGB")
    colours = _to_srgb(image, profile)
    if alpha is None:
        return colours
    page = Image.new("RGB", colours.size, background)
    page.paste(colours, mask=alpha)
    return page


def decoded(image: Image.Image, background: Colour = (255, 255, 255)) -> Image.Image:
    """Return what `open_rgb` gives of a picture that is just opened, and close it."""
    image.load()
    turn = _UPRIGHT.get(_orientation(image))  # after loading: Pillow turns some formats itself while it loads
    colours = to_rgb(image, image.info.get("icc_profile"), background)
    image.close()  # gives its memory back before another copy is made
    return colours if turn is None else colours.transpose(turn)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open `path`, not decoded yet, with decoding errors, truncation included, turned into BrokenImage.

    Decoders raise whatever they meet in a damaged file (RuntimeError, NotImplementedError, struct.error, zlib.error
    and more), so everything but a lack of memory is taken for a broken file; and that too, when there is enough.
    """
    try:
        with _refusing_truncated_files(), Image.open(path, formats=readable_formats()) as image:
            limit = max_pixels(image.format)
            if image.width * image.height > limit:
                raise BrokenImage(f"has {image.width}x{image.height} pixels, allowed are {limit:,} in all")
            yield image
    except BrokenImage:
        raise
    except MemoryError as error:
        if not _is_room():
            raise
        raise BrokenImage("asks for more memory than any picture needs: its header is damaged") from error
    except UnidentifiedImageError as error:
        raise BrokenImage("is not a picture in a format that is read, or its header is damaged") from error
    except Image.DecompressionBombError as error:
        raise BrokenImage(f"has too many pixels, allowed are {MAX_PIXELS:,} in all") from error
    except FileNotFoundError as error:
        raise BrokenImage("does not exist any more") from error
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BrokenImage(f"cannot be decoded: {reason}") from error


@contextmanager
def _refusing_truncated_files() -> Iterator[None]:
    """Switch off Pillow's process-wide leniency (other code may have switched it on); the last reader puts it back."""
    global _strict_readers, _lenient_before
    with _STRICTNESS:
        if not _strict_readers:
            _lenient_before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        _strict_readers += 1
    try:
        yield
    finally:
        with _STRICTNESS:
            _strict_readers -= 1
            if not _strict_readers:
                ImageFile.LOAD_TRUNCATED_IMAGES = _lenient_before


def _is_room() -> bool:
    """Say whether there is memory for the largest picture that is read."""
    try:
        bytearray(8 * MAX_PIXELS)
    except MemoryError:
        return False
    return True


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation 1..8; 1, upright, when there is none that makes sense."""
    found = image.getexif().get(_EXIF_ORIENTATION)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _eight_bit(image: Image.Image) -> Image.Image:
    """Return 16-bit and float greys as "L"; other modes unchanged."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise BrokenImage(f"has integer levels {values.min()}..{values.max()}, allowed are 0..65535")
        return Image.fromarray(((values * 2 + 257) // 514).astype(np.uint8))
    if image.mode == "F":
        values = np.asarray(image)
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise BrokenImage("has float levels outside 0..1 (a high dynamic range file); convert it first")
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    return image


def alpha_of(image: Image.Image) -> Image.Image | None:
    """Return the transparency as an "L" mask, or None when there is none."""
    if image.mode in ("RGBA", "LA", "PA"):
        return image.getchannel("A")
    if image.mode in ("RGBa", "La"):
        return image.convert("RGBA").getchannel("A")
    if "transparency" in image.info and image.mode in ("1", "L", "P", "RGB"):
        return image.convert("RGBA").getchannel("A")
    return None


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return new RGB pixels; a damaged or unsuitable profile is ignored, as every viewer does."""
    if image.mode == "LAB":
        return _transformed(image, ImageCms.createProfile("LAB"))
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" not in ImageCms.getProfileDescription(source):
                return _transformed(image, source)
        except (ImageCms.PyCMSError, OSError):
            pass
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _transformed(image: Image.Image, source: Any) -> Image.Image:
    transform = ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        image.mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    return transform.apply(image)
