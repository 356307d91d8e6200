"""Text that fits: wrapped to a width, shrunk a little if that helps, and cut with an ellipsis if nothing else does."""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from PIL import ImageDraw, ImageFont

ELLIPSIS = "\u2026"
LINE_SPACING = 1.25
SMALLEST = 0.75  # of the font size asked for

OWN_FACE = ""  # Pillow's own, there on every machine, but it knows little more than ASCII
# Looked for in the system's font folders, the usual faces of Linux, Windows and macOS, the widest coverage last.
SYSTEM_FACES = (
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "LiberationSans-Regular.ttf",
    "segoeui.ttf",
    "arial.ttf",
    "Arial.ttf",
    "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc",
    "msyh.ttc",
    "PingFang.ttc",
)


@lru_cache(maxsize=256)
def font(face: str, size: int) -> Any:
    """Return a face at `size` pixels. Raises OSError when the system does not have it."""
    return ImageFont.truetype(face, size) if face else ImageFont.load_default(size)


@dataclass(frozen=True)
class Lettering:
    """Lines ready to draw. size: of the font in pixels. complete: False when the end was cut."""

    lines: tuple[str, ...]
    size: int
    complete: bool
    face: str = OWN_FACE

    @property
    def line_height(self) -> int:
        """Return pixels from one line to the next."""
        return round(self.size * LINE_SPACING)

    @property
    def height(self) -> int:
        """Return the pixels all lines take."""
        return self.line_height * len(self.lines)

    @property
    def width(self) -> int:
        """Return the pixels the longest line takes."""
        return max((round(_width(line, self.face, self.size)) + 1 for line in self.lines), default=0)

    def draw(self, canvas: ImageDraw.ImageDraw, left: int, top: int, fill: str) -> None:
        """Draw the lines with their upper left corner at (left, top)."""
        for number, line in enumerate(self.lines):
            place = (left, top + number * self.line_height)
            canvas.text(place, line, font=font(self.face, self.size), fill=fill)


@lru_cache(maxsize=1024)
def fit(text: str, size: int, width: int, height: int) -> Lettering:
    """Return `text` wrapped into width x height pixels, complete if a font down to 3/4 of `size` allows it.

    Otherwise as many lines as fit (at least one) at the smallest size, the last ending in an ellipsis. Even a single
    line may be higher than `height`.
    """
    face = face_for(text)
    text = _covered(text, face)
    smallest = max(1, round(size * SMALLEST))
    for candidate in range(size, smallest - 1, -1):
        room = max(1, int(height / round(candidate * LINE_SPACING)))
        lines = wrap(text, candidate, width, face, room + 1)
        if len(lines) <= room:
            return Lettering(tuple(lines), candidate, True, face)
    last = lines[room - 1].rstrip()
    ellipsis = ELLIPSIS if _knows(face, ELLIPSIS) else "..."
    while last and _width(last + ellipsis, face, smallest) > width:
        last = last[:-1]
    return Lettering((*lines[: room - 1], last.rstrip() + ellipsis), smallest, False, face)


def wrap(text: str, size: int, width: int, face: str = OWN_FACE, enough: int = 10**9) -> list[str]:
    """Return lines no wider than `width` pixels, broken at spaces; a word that is too wide is broken anywhere.

    Stops once there are `enough` lines.
    """
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            joined = f"{line} {word}" if line else word
            if _width(joined, face, size) <= width:
                line = joined
                continue
            if line:
                lines.append(line)
            if len(lines) >= enough:
                return lines
            *full, line = _pieces(word, size, width, face)
            lines += full
        lines.append(line)
    return lines


def _pieces(word: str, size: int, width: int, face: str) -> list[str]:
    pieces, start = [], 0
    for end in range(1, len(word) + 1):
        if end - start > 1 and _width(word[start:end], face, size) > width:
            pieces.append(word[start : end - 1])
            start = end - 1
    return [*pieces, word[start:]]


def face_for(text: str) -> str:
    """Return the first face that has every letter of `text`, or else the one that misses the fewest."""
    letters = {letter for letter in text if not letter.isspace()}
    return min(_faces(), key=lambda face: sum(not _knows(face, letter) for letter in letters))


@lru_cache(maxsize=1)
def _faces() -> tuple[str, ...]:
    return (OWN_FACE, *(face for face in SYSTEM_FACES if _exists(face)))


def _exists(face: str) -> bool:
    try:
        font(face, 20)
    except OSError:
        return False
    return True


@lru_cache(maxsize=20_000)
def _knows(face: str, letter: str) -> bool:
    drawn = font(face, 20)
    return bytes(drawn.getmask(letter)) != bytes(drawn.getmask("\U0010ffff"))


def _covered(text: str, face: str) -> str:
    """Return `text` with letters the face lacks replaced: by their plain letter where they have one, else by "?"."""
    return "".join(letter if letter.isspace() or _knows(face, letter) else _plain(letter) for letter in text)


def _plain(letter: str) -> str:
    decomposed = unicodedata.normalize("NFKD", letter)
    return "".join(part for part in decomposed if part.isascii()) or "?"


def _width(text: str, face: str, size: int) -> float:
    return float(font(face, size).getlength(text))
