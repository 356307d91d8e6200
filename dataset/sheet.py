"""Contact sheets: what a dataset looks like after its chain of steps."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from .dataset import Dataset
from .images import Colour

_PAPER, _INK, _FAINT = (24, 24, 27), (228, 228, 231), (150, 150, 160)
_GAP = 12

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Mark(NamedTuple):
    """A frame around a picture, and a word on it."""

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

    Under each picture stand its number, its size and its caption, shortened; pictures are shrunk to fit, never
    enlarged. `watch(done, total)` is called after each picture.
    """
    shown = range(len(dataset)) if order is None else order
    total = len(shown) if not limit else min(limit, len(shown))
    if not total:
        return []
    rows = min(rows, -(-total // columns))
    columns = min(columns, total)
    pages = []
    for number in range(total):
        place = number % (columns * rows)
        if place == 0:
            pages.append(_page(columns, rows, cell))
        corner = _corner(place, columns, cell)
        _draw_cell(pages[-1], dataset, shown[number], corner, cell)
        if marks and shown[number] in marks:
            _draw_mark(pages[-1], marks[shown[number]], corner, cell)
        if watch:
            watch(number + 1, total)
    return pages


def _text_height(cell: int) -> int:
    return 4 * _font_size(cell) + 10


def _font_size(cell: int) -> int:
    return max(11, cell // 18)


def _page(columns: int, rows: int, cell: int) -> Image.Image:
    size = (columns * (cell + _GAP) + _GAP, rows * (cell + _text_height(cell) + _GAP) + _GAP)
    return Image.new("RGB", size, _PAPER)


def _corner(place: int, columns: int, cell: int) -> tuple[int, int]:
    row, column = divmod(place, columns)
    return _GAP + column * (cell + _GAP), _GAP + row * (cell + _text_height(cell) + _GAP)


def _draw_cell(page: Image.Image, dataset: Dataset, number: int, corner: tuple[int, int], cell: int) -> None:
    sample = dataset.sample(number)
    width, height = sample.image.size
    picture = sample.image.copy()
    picture.thumbnail((cell, cell), Image.Resampling.LANCZOS)
    left, top = corner
    page.paste(picture, (left + (cell - picture.width) // 2, top + (cell - picture.height) // 2))
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(_font_size(cell))
    line = _font_size(cell) * 1.25
    draw.text((left, top + cell + 4), f"{number + 1}   {width}x{height}", _FAINT, font)
    for index, text in enumerate(_wrapped(sample.caption or "(no caption)", font, cell, 2), start=1):
        draw.text((left, top + cell + 4 + index * line), text, _INK, font)


def _draw_mark(page: Image.Image, mark: Mark, corner: tuple[int, int], cell: int) -> None:
    left, top = corner
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(_font_size(cell))
    draw.rectangle((left, top, left + cell - 1, top + cell - 1), outline=mark.colour, width=max(2, cell // 64))
    lines = _wrapped(mark.text, font, cell - 12, 3)
    height = _font_size(cell) * 1.25
    draw.rectangle((left, top, left + cell - 1, top + 6 + height * len(lines)), fill=mark.colour)
    for number, text in enumerate(lines):
        draw.text((left + 6, top + 3 + number * height), text, _PAPER, font)


def _wrapped(text: str, font: Font, width: int, lines: int) -> list[str]:
    """Return `text` in at most `lines` lines of `width` pixels, ending in an ellipsis when it is longer."""
    found: list[str] = []
    rest = " ".join(text.split())
    while rest and len(found) < lines:
        last = len(found) == lines - 1
        fitting = _fitting(rest, font, width)
        if fitting == len(rest):
            return [*found, rest]
        if last:
            while fitting and font.getlength(rest[:fitting].rstrip() + "…") > width:
                fitting -= 1
            return [*found, rest[:fitting].rstrip() + "…"]
        cut = rest.rfind(" ", 1, fitting + 1)
        cut = fitting if cut < 1 else cut
        found.append(rest[:cut])
        rest = rest[cut:].lstrip()
    return found


def _fitting(text: str, font: Font, width: int) -> int:
    """Return how many leading letters fit, at least one."""
    low, high = 1, min(len(text), width)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    return low
