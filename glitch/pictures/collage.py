"""Damage by scissors: parts of other pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ..context import Context
from ..registry import Parameter, operation

_TEETH = 20  # points of a torn edge per side
_PAPER = "#f4f0e6"
_RIM = 0.05  # of paper that shows along a torn edge; a part of the patch


@operation(
    "collage",
    Parameter("patches", 14, "Patches pasted", 1, 64),
    Parameter("size", 0.35, "Their typical size; a part of each side", 0.02, 1.0, 0.01),
    Parameter("shape", "torn", "torn: ragged, with a rim of paper. rectangle: cut", choices=("torn", "rectangle")),
    Parameter("tilt", 20, "How far a patch is turned at most", 0, 180, unit="degrees"),
    Parameter("opacity", 1.0, "How much a patch hides what is below", 0.0, 1.0, 0.05),
    Parameter("sources", 3, "From how many other pictures they are taken at most", 1, 16, unit="pictures"),
    tag="collage",
    measured_by="distance",
    wants_context=True,
)
def collage(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    context: Context,
    patches: int,
    size: float,
    shape: str,
    tilt: int,
    opacity: float,
    sources: int,
) -> Image.Image:
    """Collage: parts of other pictures of the dataset are pasted over this one, cut or torn; alone, its own parts.

    Severity is the part of `patches` that is pasted; the last of them is still growing and fading in.
    """
    pictures = _pictures(image, rng, context, sources)
    drawn = [_Patch.drawn(rng, size, tilt, len(pictures)) for _ in range(patches)]
    result = image.copy()
    for number, patch in enumerate(drawn):
        growth = min(1.0, severity * patches - number)
        if growth <= 0:
            break
        _paste(result, pictures[patch.source], patch, growth**0.5, shape == "torn", growth * opacity)
    return result


@dataclass(frozen=True)
class _Patch:
    """A patch. middle, size, cut_from: parts of the sides of picture and source. teeth: where a torn edge goes."""

    source: int
    middle: np.ndarray
    size: np.ndarray
    cut_from: np.ndarray
    degrees: float
    teeth: np.ndarray

    @classmethod
    def drawn(cls, rng: np.random.Generator, size: float, tilt: int, sources: int) -> "_Patch":
        sides = np.minimum(1.0, size * 2 ** rng.uniform(-0.7, 0.7, 2))
        cut_from = rng.random(2) * (1 - sides)
        return cls(
            int(rng.integers(sources)),
            rng.random(2),
            sides,
            cut_from,
            float(tilt * rng.uniform(-1, 1)),
            rng.standard_normal((2, 4, _TEETH)),
        )


def _pictures(image: Image.Image, rng: np.random.Generator, context: Context, count: int) -> list[Image.Image]:
    places = context.strangers()
    if not places:
        turns = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_90)
        return [image.transpose(turn) for turn in turns]
    chosen: Sequence[int] = rng.permutation(len(places))[:count].tolist()
    return [context.others[places[index]].convert("RGB") for index in chosen]


def _paste(onto: Image.Image, source: Image.Image, patch: _Patch, growth: float, torn: bool, opacity: float) -> None:
    """Paste a patch, its sides scaled by `growth`, with its middle where it belongs."""
    size = (_pixels(patch.size[0] * growth, onto.width), _pixels(patch.size[1] * growth, onto.height))
    content, mask = _cut(source, patch, size), Image.new("L", size, 255)
    if torn:
        mask = _torn(size, patch.teeth[0], 0.0)
        content = Image.composite(content, Image.new("RGB", size, _PAPER), _torn(size, patch.teeth[1], _RIM))
    if patch.degrees:
        content = content.rotate(patch.degrees, Image.Resampling.BILINEAR, expand=True)
        mask = mask.rotate(patch.degrees, Image.Resampling.BILINEAR, expand=True)
    left = round(float(patch.middle[0]) * onto.width - mask.width / 2)
    top = round(float(patch.middle[1]) * onto.height - mask.height / 2)
    onto.paste(content, (left, top), mask.point([round(opacity * level) for level in range(256)]))


def _pixels(part: float, side: int) -> int:
    return max(1, round(float(part) * side))


def _cut(source: Image.Image, patch: _Patch, size: tuple[int, int]) -> Image.Image:
    """Return the patch's part of a source, resized; in whole pixels of the source."""
    left, top = (int(part * side) for part, side in zip(patch.cut_from, source.size, strict=True))
    right = min(source.width, left + _pixels(patch.size[0], source.width))
    bottom = min(source.height, top + _pixels(patch.size[1], source.height))
    return source.resize(size, Image.Resampling.BILINEAR, (left, top, right, bottom))


def _torn(size: tuple[int, int], teeth: np.ndarray, inset: float) -> Image.Image:
    """Return a mask of ragged edges, at least `inset` (a part of the size) inside."""
    ragged = inset + 0.025 * np.abs(np.cumsum(teeth, axis=1) / 2 + teeth)
    along = np.linspace(0.03, 0.97, _TEETH)
    upper, right = np.stack((along, ragged[0])), np.stack((1 - ragged[1], along))
    lower, left = np.stack((along[::-1], 1 - ragged[2])), np.stack((ragged[3], along[::-1]))
    outline = np.concatenate((upper, right, lower, left), axis=1).T * size
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in outline], fill=255)
    return mask
