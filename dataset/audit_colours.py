"""Colours by name: a dataset's palette, its backgrounds, and captions that say them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..metrics.colour import background_spread, colour_distance
from ..metrics.planes import Picture, lab
from .audit_facts import Facts
from .sample import Sample

PLAIN = 8.0  # Lab: spread along the edges up to which a background is plain
SAME = 12.0  # Lab: distance up to which two backgrounds are one colour
MOST = 0.7
SHARED = 6.0  # Lab: median distance to all colours up to which a dataset has one palette

_COLOURS = {
    **{"black": "#000000", "dark grey": "#404040", "grey": "#808080", "light grey": "#c8c8c8", "white": "#ffffff"},
    **{"dark red": "#7a1010", "red": "#d81e1e", "salmon": "#f08070", "pink": "#f5a9c4", "magenta": "#d030c0"},
    **{"brown": "#6b4423", "rust": "#a34a1e", "orange": "#f08a1e", "tan": "#c8a878", "beige": "#e8dcc0"},
    **{"gold": "#d4a820", "yellow": "#f5e02a", "cream": "#fbf3d0", "olive": "#6f7028", "lime": "#a8e030"},
    **{"dark green": "#164a1e", "green": "#2f9e3a", "light green": "#a0d8a0", "teal": "#1a7878"},
    **{"turquoise": "#40d0c0", "cyan": "#40e0f0", "light blue": "#a8cdec", "blue": "#2850d0", "navy": "#101a5a"},
    **{"slate blue": "#607890", "purple": "#6a2a8c", "violet": "#9058e0", "lavender": "#c8b8ec"},
    **{"maroon": "#4a1020", "dark brown": "#38200f"},
}
_QUANTISED = 12
_NAMED = 3


@dataclass(frozen=True)
class AppendColours:
    """A step that puts the measured colours of a picture at the end of its caption.

    table: (key of the file, names) pairs, sorted; captions of other files stay as they are. A name that the caption
    already has is not said again.
    """

    table: tuple[tuple[str, tuple[str, ...]], ...]

    name: ClassVar[str] = "append_colours"
    seed: ClassVar[int] = 0
    touches: ClassVar[Literal["caption"]] = "caption"
    kind: ClassVar[Literal["caption"]] = "caption"
    varies: ClassVar[bool] = False

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with the colours of its file in its caption."""
        said = sample.caption.casefold()
        names = [name for name in dict(self.table).get(sample.key, ()) if name not in said]
        return sample.with_caption(", ".join(part for part in (sample.caption, *names) if part)) if names else sample

    def describe(self) -> dict[str, Any]:
        """Return the step as JSON; the table as a digest, as it can be long."""
        digest = hashlib.sha256(json.dumps(self.table).encode()).hexdigest()
        return {"name": self.name, "pictures": len(self.table), "table": digest[:16]}


def append_colours(names: Mapping[str, Sequence[str]]) -> AppendColours:
    """Return the step for names by key of the file."""
    return AppendColours(tuple(sorted((key, tuple(colours)) for key, colours in names.items() if colours)))


def colour_shares(thumb: Picture) -> dict[str, float]:
    """Return the shares of the picture, 0..1, by the name of the nearest of 35 colours in Lab, the largest first."""
    image = Image.fromarray(thumb).quantize(_QUANTISED, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
    shares: dict[str, float] = {}
    for index, count in enumerate(np.bincount(np.asarray(image).ravel(), minlength=1)):
        if count:
            name = colour_name(lab(palette[index][None, None])[0, 0])
            shares[name] = shares.get(name, 0) + float(count) / thumb[..., 0].size
    return dict(sorted(shares.items(), key=lambda pair: -pair[1]))


def main_colours(thumb: Picture, part: float = 0.12) -> list[str]:
    """Return the names of up to three colours that fill a `part` of the picture or more, the largest first."""
    shares = list(colour_shares(thumb).items())[:_NAMED]
    return [name for place, (name, share) in enumerate(shares) if share >= part or place == 0]


def colour_name(colour: NDArray[np.floating[Any]]) -> str:
    """Return the name that is nearest to a Lab colour."""
    names, places = _named()
    return names[int(np.linalg.norm(places - colour, axis=1).argmin())]


@cache
def _named() -> tuple[tuple[str, ...], NDArray[np.float32]]:
    values = np.array([[int(code[at : at + 2], 16) for at in (1, 3, 5)] for code in _COLOURS.values()], np.uint8)
    return tuple(_COLOURS), lab(values[None])[0]


def palette_of(facts: Sequence[Facts]) -> list[tuple[str, float]]:
    """Return the colours of all pictures by name with their share, 0..1, the largest first."""
    total: dict[str, float] = {}
    for fact in facts:
        for name, share in colour_shares(fact.thumb).items():
            total[name] = total.get(name, 0) + share / len(facts)
    return sorted(total.items(), key=lambda pair: -pair[1])


def odd_palettes(facts: Sequence[Facts]) -> list[tuple[int, float]]:
    """Return (place, distance in Lab) of pictures whose colours differ from those of all, if most share theirs.

    The distance is `colour_distance` between the picture and an even draw from all pictures; odd is one that is 1.5 and
    nine median deviations further away than the median. Fewer than five pictures share nothing.
    """
    if len(facts) < 5:
        return []
    thumbs = np.stack([fact.thumb[::2, ::2] for fact in facts])
    pixels = thumbs.reshape(-1, 3)
    places = np.linspace(0, len(pixels) - 1, thumbs[0][..., 0].size).astype(int)
    usual = pixels[places].reshape(thumbs[0].shape)
    apart = np.array([colour_distance(thumb, usual) for thumb in thumbs])
    middle = float(np.median(apart))
    if middle > SHARED:
        return []
    limit = middle + max(1.5, 9 * float(np.median(np.abs(apart - middle))))
    return [(int(place), float(apart[place])) for place in np.flatnonzero(apart > limit)]


@dataclass(frozen=True)
class Backgrounds:
    """What is along the edges of a dataset's pictures.

    plain: places of those whose edges are one colour. colours: the Lab colour of each place. common: the Lab colour
    of the plain ones, the median, if most pictures are plain and share it. odd: places of pictures that differ from it.
    mixed: most pictures are plain but they share no colour.
    """

    plain: tuple[int, ...]
    colours: NDArray[np.float64]
    common: NDArray[np.float64] | None
    odd: tuple[int, ...]
    mixed: bool


def backgrounds(facts: Sequence[Facts]) -> Backgrounds:
    """Return what is along the edges of the pictures, of thumbnails; for fewer than five nothing is common."""
    colours = np.array([_edge_colour(fact.thumb) for fact in facts]).reshape(-1, 3)
    plain = tuple(place for place, fact in enumerate(facts) if background_spread(fact.thumb) <= PLAIN)
    if len(facts) < 5 or len(plain) < MOST * len(facts):
        return Backgrounds(plain, colours, None, (), False)
    common = np.median(colours[list(plain)], axis=0)
    near = np.linalg.norm(colours - common, axis=1) <= SAME
    fitting = {place for place in plain if near[place]}
    if len(fitting) < MOST * len(facts):
        return Backgrounds(plain, colours, None, (), True)
    return Backgrounds(plain, colours, common, tuple(set(range(len(facts))) - fitting), False)


def _edge_colour(thumb: Picture) -> NDArray[np.float64]:
    width = max(1, len(thumb) // 16)
    band = np.ones(thumb.shape[:2], bool)
    band[width:-width, width:-width] = False
    return np.asarray(np.median(lab(thumb[band][None])[0], axis=0), np.float64)
