"""Contact sheets: what a dataset looks like after its chain of steps."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from .dataset import Dataset
from .images import Colour

_PAPER, _INK, _FAINT = (24, 24, 27), (228, 228, 231), (150, 150, 160)
_GAP = 12
_FRAME = 4
_LINES = 2  # of a caption, and of a mark

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Mark(NamedTuple):
    """A frame around a picture, and words under it in the same colour."""

    colour: Colour
    text: str


def contact_sheets(
    dataset: Dataset,
    columns: int = 4,
    cell: int = 256,
    rows: int = 4,
    limit: int = 32,
    watch: Callable[[int, int], None] | None = None,
    order: Sequence[int] | None = None,
    marks: Mapping[int, Mark] | None = None,
) -> list[Image.Image]:
    """Return pages of equal size with the first `limit` pictures (0 for all) in cells of `cell` pixels.

    order: indices of the pictures to show; all, in their order, without it. marks: frames, by index.

    Under each picture stand its number, its size, its mark and its caption, what is too long without its middle;
    pictures are shrunk to fit, never enlarged. `watch(done, total)` is called after each picture.
    """
    shown = range(len(dataset)) if order is None else order
    total = len(shown) if not limit else min(limit, len(shown))
    if not total:
        return []
    rows = min(rows, -(-total // columns))
    columns = min(columns, total)
    lines = 2 * _LINES if marks else _LINES
    pages = []
    for number in range(total):
        place = number % (columns * rows)
        if place == 0:
            pages.append(_page(columns, rows, cell, lines))
        corner = _corner(place, columns, cell, lines)
        _draw_cell(pages[-1], dataset, shown[number], corner, cell, (marks or {}).get(shown[number]))
        if watch:
            watch(number + 1, total)
    return pages


def _text_height(cell: int, lines: int) -> int:
    """Return the pixels of a line with the number and of `lines` lines below it."""
    return round((1 + lines) * _line_height(cell)) + 10


def _line_height(cell: int) -> float:
    return 1.25 * _font_size(cell)


def _font_size(cell: int) -> int:
    return max(11, cell // 18)


def _page(columns: int, rows: int, cell: int, lines: int) -> Image.Image:
    size = (columns * (cell + _GAP) + _GAP, rows * (cell + _text_height(cell, lines) + _GAP) + _GAP)
    return Image.new("RGB", size, _PAPER)


def _corner(place: int, columns: int, cell: int, lines: int) -> tuple[int, int]:
    row, column = divmod(place, columns)
    return _GAP + column * (cell + _GAP), _GAP + row * (cell + _text_height(cell, lines) + _GAP)


def _draw_cell(
    page: Image.Image, dataset: Dataset, number: int, corner: tuple[int, int], cell: int, mark: Mark | None
) -> None:
    sample = dataset.sample(number)
    width, height = sample.image.size
    picture = sample.image.copy()
    picture.thumbnail((cell, cell), Image.Resampling.LANCZOS)
    left, top = corner
    page.paste(picture, (left + (cell - picture.width) // 2, top + (cell - picture.height) // 2))
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(_font_size(cell))
    lines = [(f"{number + 1}   {width}x{height}", _FAINT)]
    if mark:
        lines += [(text, mark.colour) for text in _wrapped(mark.text, font, cell, _LINES)]
        _draw_frame(draw, mark.colour, corner, cell)
    lines += [(text, _INK) for text in _wrapped(sample.caption or "(no caption)", font, cell, _LINES)]
    for index, (text, colour) in enumerate(lines):
        draw.text((left, top + cell + 6 + index * _line_height(cell)), text, colour, font)


def _draw_frame(draw: ImageDraw.ImageDraw, colour: Colour, corner: tuple[int, int], cell: int) -> None:
    """Draw a frame around a cell, outside it: it must not hide what it is about."""
    left, top = corner
    around = (left - _FRAME, top - _FRAME, left + cell - 1 + _FRAME, top + cell - 1 + _FRAME)
    draw.rectangle(around, outline=colour, width=_FRAME)


def _wrapped(text: str, font: Font, width: int, lines: int) -> list[str]:
    """Return `text` in at most `lines` lines of `width` pixels; when it is longer an ellipsis stands for its middle.

    Captions have their trigger in front and their tags at the end.
    """
    whole = " ".join(text.split())
    found = _lines(whole, font, width, lines)
    low, high = 0, len(whole) // 2
    while len(found) > lines and low < high:
        middle = (low + high + 1) // 2
        fits = len(_lines(_shortened(whole, middle), font, width, lines)) <= lines
        low, high = (middle, high) if fits else (low, middle - 1)
    return found if len(found) <= lines else _lines(_shortened(whole, low), font, width, lines)


def _shortened(text: str, kept: int) -> str:
    """Return `text` with `kept` letters of each end and an ellipsis between them."""
    return f"{text[:kept].rstrip()}…{text[len(text) - kept :].lstrip()}"


def _lines(text: str, font: Font, width: int, most: int) -> list[str]:
    """Return `text` in lines of `width` pixels; no more than one line after `most`, which is only part of the rest."""
    found: list[str] = []
    while text and len(found) <= most:
        cut = fitting = _fitting(text, font, width)
        if fitting < len(text):
            blank = text.rfind(" ", 1, fitting + 1)
            cut = fitting if blank < 1 else blank
        found.append(text[:cut])
        text = text[cut:].lstrip()
    return found


def _fitting(text: str, font: Font, width: int) -> int:
    """Return how many leading letters fit, at least one."""
    low, high = 1, min(len(text), width)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    return low
