"""Films as packets of MPEG-4 (ISO/IEC 14496-2), in memory: a whole picture first, then only what changes."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

_MACROBLOCK = 16
_ENCODER = {"g": "100000", "bf": "0", "sc_threshold": "1000000000", "flags": "+bitexact"}


def planes_of(image: Image.Image) -> list[Image.Image]:
    """Return brightness and, at half the size, the two colours, padded with the edge to whole macroblocks."""
    pixels = np.asarray(image.convert("YCbCr"))
    down, right = (-side % _MACROBLOCK for side in pixels.shape[:2])
    padded = np.pad(pixels, ((0, down), (0, right), (0, 0)), mode="edge")
    luma, *colours = Image.fromarray(padded, "YCbCr").split()
    return [luma, *(colour.reduce(2) for colour in colours)]


def encoded(frames: Iterable[list[Image.Image]], quantizer: int) -> list[Any]:
    """Return the packets of a film, one a frame: the first is the whole picture, each later one is the change.

    quantizer: 1 (fine) to 31 (coarse). Raises RuntimeError when PyAV has no MPEG-4, or fails.
    """
    packets: list[Any] = []
    codec: Any = None
    for number, planes in enumerate(frames):
        if codec is None:
            codec = _opened("w", planes[0].size, {**_ENCODER, "qmin": str(quantizer), "qmax": str(quantizer)})
        packets += _checked(codec.encode, _frame(planes, number))
    return packets + (_checked(codec.encode, None) if codec else [])


def last_frame(packets: Iterable[Any], size: tuple[int, int]) -> Image.Image:
    """Return the RGB picture of `size` that a player shows after these packets, in whatever order they are fed."""
    codec = _opened("r", None, {"flags": "+bitexact"})
    shown: list[Any] = []
    for packet in packets:
        shown = _checked(codec.decode, packet) or shown
    shown = _checked(codec.decode, None) or shown
    if not shown:
        raise RuntimeError("mpeg4: got no picture from the decoder, needed one, install another version of PyAV")
    return _image(shown[-1].to_ndarray(), (shown[-1].width, shown[-1].height)).crop((0, 0, *size))


def _opened(mode: str, size: tuple[int, int] | None, options: dict[str, str]) -> Any:
    """Return a codec that works alone: what several threads make together depends on their number."""
    try:
        import av

        codec: Any = av.CodecContext.create("mpeg4", mode)  # type: ignore[call-overload]
    except (ImportError, ValueError) as error:
        raise RuntimeError(f"mpeg4: got no codec ({error}), needed PyAV with MPEG-4, install av") from error
    codec.options = options
    codec.thread_count = 1
    if size is not None:
        from fractions import Fraction

        codec.width, codec.height = size
        codec.pix_fmt, codec.time_base, codec.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
    return codec


def _frame(planes: list[Image.Image], number: int) -> Any:
    import av

    stacked = np.concatenate([np.asarray(plane).reshape(-1) for plane in planes])
    frame = av.VideoFrame.from_ndarray(stacked.reshape(-1, planes[0].width), format="yuv420p")
    frame.pts = number
    return frame


def _image(stacked: np.ndarray, size: tuple[int, int]) -> Image.Image:
    width, height = size
    flat, area = stacked.reshape(-1), width * height
    luma = Image.fromarray(flat[:area].reshape(height, width))
    colours = [
        Image.fromarray(flat[start : start + area // 4].reshape(height // 2, width // 2)).resize(size)
        for start in (area, area + area // 4)
    ]
    return Image.merge("YCbCr", [luma, *colours]).convert("RGB")


def _checked(step: Any, argument: Any) -> Any:
    import av

    try:
        return step(argument)
    except av.error.FFmpegError as error:
        raise RuntimeError(f"mpeg4: got {error} from FFmpeg, needed a working codec, change the settings") from error
