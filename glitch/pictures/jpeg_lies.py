"""JPEG files whose headers do not tell the truth about their data."""

from PIL import Image, ImageChops, ImageStat

from .jpeg_file import START_OF_SCAN, decoded, encoded, frame_header, segments

_SAMPLINGS = {"4:4:4": (0x21, 0x12, 0x22), "4:2:0": (0x11, 0x21, 0x12)}  # how brightness is sampled, and the lies
_ORDERS = ((1, 0, 2), (2, 1, 0), (0, 2, 1), (1, 2, 0), (2, 0, 1))
_BLOCKS = (1, -1, 2, -2, 3, -3)
_SEEN = 3.0  # root mean square of levels; less is rounding


def told(lie: str, image: Image.Image, quality: int, amount: float) -> Image.Image | None:
    """Return the image as a decoder shows it that believes the lie, in the size of the image.

    amount: 0 to 1, which of the possible lies of the kind. None when the decoder gives up, or notices nothing.
    """
    honest, lying = _TELLERS[lie](image, quality, amount)
    shown, truth = decoded(lying), decoded(honest)
    if shown is None or truth is None:
        return None
    fitted = shown if shown.size == image.size else shown.resize(image.size, Image.Resampling.NEAREST)
    seen = max(ImageStat.Stat(ImageChops.difference(fitted, truth)).rms)
    return fitted if seen > _SEEN else None


def _huffman(image: Image.Image, quality: int, amount: float) -> tuple[bytes, bytes]:
    """Let each component be read with the tables of the other kind: for constants, for waves, or for both."""
    honest = encoded(image, quality, "4:4:4")
    lying = bytearray(honest)
    swapped = (0x10, 0x01, 0x11)[int(amount * 3)]
    header = next(start for marker, start, _ in segments(honest) if marker == START_OF_SCAN)
    for component in range(3):
        lying[header + 2 + 2 * component] ^= swapped
    return honest, bytes(lying)


def _sampling(image: Image.Image, quality: int, amount: float) -> tuple[bytes, bytes]:
    """Let colour be taken for coarser or finer than it is, so that blocks are counted wrongly."""
    choices = [(true, claim) for true, claims in _SAMPLINGS.items() for claim in claims]
    true, claim = choices[int(amount * len(choices))]
    honest = encoded(image, quality, true)
    lying = bytearray(honest)
    lying[frame_header(honest) + 7] = claim
    return honest, bytes(lying)


def _components(image: Image.Image, quality: int, amount: float) -> tuple[bytes, bytes]:
    """Let brightness and the two colours be taken for each other, or for red, green and blue."""
    honest = encoded(image, quality, "4:4:4")
    which = int(amount * (len(_ORDERS) + 1))
    if which == len(_ORDERS):
        adobe = b"\xff\xee\x00\x0eAdobe\x00\x64" + bytes(5)  # its last byte: no transform, the data is RGB
        return honest, honest[:2] + adobe + honest[2:]
    # libjpeg refuses components out of order, so their data is put out of order and the header left as it is
    planes = image.convert("YCbCr").split()
    return honest, encoded(Image.merge("YCbCr", [planes[place] for place in _ORDERS[which]]), quality, "4:4:4")


def _size(image: Image.Image, quality: int, amount: float) -> tuple[bytes, bytes]:
    """Let rows be a few blocks longer or shorter than they are, so that the picture shears."""
    honest = encoded(image, quality, "4:4:4")
    change = 8 * _BLOCKS[int(amount * len(_BLOCKS))]
    width = image.width + change if image.width + change > 0 else image.width - change
    lying = bytearray(honest)
    lying[frame_header(honest) + 3 : frame_header(honest) + 5] = width.to_bytes(2, "big")
    return honest, bytes(lying)


_TELLERS = {
    "swapped Huffman tables": _huffman,
    "sampling factors": _sampling,
    "component order": _components,
    "size": _size,
}
LIES = tuple(_TELLERS)
