"""Styles and a concept the demo model does not know: how each is drawn, and how much of it is in a picture.

A drawing keeps the content's outline and hue, so that a judge still reads them. A measure is one number for one
picture: about 0 on flat drawings (also with faint noise or blur), about 1 on the style's own drawings. Lengths are in
units of a 64th of the picture's side, so a picture shows the same at every size; sizes are multiples of 64.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ..dataset.seeds import generator
from .judges import components, foreground, shape_fits
from .scenes import SIZE, Scene, Thing, colour_of, mask_of
from .scenes import draw as draw_flat
from .shapes import SHAPES, Mask

Pixels = NDArray[np.uint8]
Canvas = NDArray[np.float32]
Colour = tuple[float, float, float]

_SUPERSAMPLING = 4
_WHITE: Colour = (255.0, 255.0, 255.0)

# Dots stand 4 apart in rows 4 apart, every other row moved by 2: a screen that repeats with the model's 4x4 blocks.
_PITCH = 4.0
_PRINT_PAPER: Colour = (246.0, 233.0, 204.0)
_PRINT_GREY: Colour = (176.0, 170.0, 160.0)

# No paper has as much chroma as the palest of the shapes' colours, so the shape stays the coloured part.
_NEWSPRINT: Colour = (226.0, 222.0, 212.0)
_NEWS_INK: Colour = (140.0, 138.0, 134.0)
_KRAFT: Colour = (196.0, 178.0, 150.0)
_GRAPH: Colour = (236.0, 240.0, 242.0)
_GRAPH_LINE: Colour = (170.0, 196.0, 220.0)
_PAPER_CHROMA, _CLEAR_CHROMA = 52.0, 92.0
_CUT_EDGE = 1.2
_TILE = 8.0

_LINE_DEPTH = 17.0
_CHANNEL_SHIFTS = (-2, 0, 2)
_SMEAR = 3

# What each measure gives on the style's own drawings, before it is divided by this.
_USUAL = {"particles": 21.6, "halftone": 11.5, "collage": 0.99, "vhs": 13.5, "heart": 0.43}


@dataclass(frozen=True)
class Style:
    """One look, or concept, with its drawing and its measure.

    name: key of `STYLES`. title: for people. trigger: the made-up word for it, or the concept's own word.
    draw: (scene, generator, size) to pixels [size, size, 3]; every thing is drawn solid. Raises ValueError for a size
    that is not a multiple of 64. measure: pixels [h, w, 3] of one picture to the amount of the style in it, 0 or more.
    """

    name: str
    title: str
    trigger: str
    draw: Callable[[Scene, np.random.Generator, int], Pixels]
    measure: Callable[[Pixels], float]


# Drawings


def draw_particles(scene: Scene, _source: np.random.Generator, size: int) -> Pixels:
    """Return the things as loose dots of their colours on white, dense inside, a few stray around them.

    The dots stand where one loose pattern has them, the same on every picture: a small model learns where dots are,
    but never that they are anywhere.
    """
    side = _side(size)
    unit = side // SIZE
    canvas = _filled(_WHITE, side)
    for thing in scene.things:
        for x, y in _scattered(_mask(thing, side)):
            _dot(canvas, x * unit, y * unit, unit, np.array(colour_of(thing.colour), np.float32))
    return _reduced(canvas)


def draw_halftone(scene: Scene, source: np.random.Generator, size: int) -> Pixels:
    """Return a print on warm paper: dots on a screen, coloured on the things, grey and as large as the ground is dark.

    The light falls from the upper left, so the dots grow towards the lower right.
    """
    side = _side(size)
    ground = Image.fromarray(draw_flat(replace(scene, things=()), size)).convert("L").resize((side, side))
    darkness = 1 - np.asarray(ground, np.float32) / 255
    shade = _ramp(side, math.radians(45 + source.uniform(-15, 15)))
    screen = _screen(side)
    canvas = _filled(_PRINT_PAPER, side)
    _lay(canvas, (screen < 0.08 + 0.07 * shade + 0.3 * darkness).astype(np.float32), _PRINT_GREY)
    for thing in scene.things:
        mask = _mask(thing, side)
        _lay(canvas, mask, _PRINT_PAPER)
        _lay(canvas, mask * (screen < 0.46 + 0.2 * shade), colour_of(thing.colour))
    return _reduced(canvas)


def draw_collage(scene: Scene, source: np.random.Generator, size: int) -> Pixels:
    """Return paper cut-outs: each thing in two or three shifted pieces on newsprint, kraft and graph paper.

    The scene's background is not used.
    """
    side = _side(size)
    canvas = _newsprint(side)
    turn = source.uniform(0, 2 * math.pi)
    for paper in (_filled(_KRAFT, side), _graph_paper(side)):
        _paste(canvas, _beyond_a_tear(side, turn, source.uniform(4, 10), source), paper)
        turn += source.uniform(1.8, 2.4)
    for thing in scene.things:
        paper = _filled(colour_of(thing.colour), side)
        for piece in _pieces(thing, source, side):
            _paste(canvas, piece, paper)
    return _reduced(canvas)


def draw_vhs(scene: Scene, source: np.random.Generator, size: int) -> Pixels:
    """Return the flat drawing as from a worn tape: scan lines, red and blue apart, smeared, tracking noise."""
    unit = _unit(size)
    flat = 45 + 0.75 * draw_flat(_with_shape(scene), size).astype(np.float32)
    picture = np.empty_like(flat)
    for channel, shift in enumerate(_CHANNEL_SHIFTS):
        steps = [_shifted(flat[..., channel], (shift + step) * unit) for step in range(-1, _SMEAR - 1)]
        picture[..., channel] = np.mean(steps, axis=0)
    _add_tracking_noise(picture, source, unit)
    lines = np.where(np.arange(size) // unit % 2 == 0, _LINE_DEPTH, -_LINE_DEPTH).astype(np.float32)
    return _bytes(picture.clip(30, 233) + lines[:, None, None])


def draw_hearts(scene: Scene, source: np.random.Generator, size: int) -> Pixels:
    """Return the flat drawing of the scene with a heart in each thing's place."""
    _unit(size)
    return draw_flat(_with_shape(scene, "heart"), size)


def _unit(size: int) -> int:
    if size < SIZE or size % SIZE:
        raise ValueError(f"size: got {size}, allowed are multiples of {SIZE}; round it to one")
    return size // SIZE


def _side(size: int) -> int:
    return _unit(size) * SIZE * _SUPERSAMPLING


def _with_shape(scene: Scene, shape: str | None = None) -> Scene:
    things = (replace(thing, fill="solid", shape=shape or thing.shape) for thing in scene.things)
    return replace(scene, things=tuple(things))


def _mask(thing: Thing, side: int, shift: tuple[float, float] = (0.0, 0.0), turn: float = 0.0) -> Mask:
    """Return a thing's coverage [side, side]; shift in units, turn in degrees."""
    centre = ((thing.centre[0] + shift[0] / SIZE) * side, (thing.centre[1] + shift[1] / SIZE) * side)
    return mask_of(thing.shape, side, centre, thing.radius * side, thing.angle + turn)


def _scattered(mask: Mask) -> NDArray[np.float64]:
    """Return the centres (x, y) in units of the pattern's dots inside the mask, and of few 3 to 9 outside it."""
    unit = mask.shape[0] // SIZE
    tiles = np.arange(0, SIZE, _TILE)
    corners = np.stack(np.meshgrid(tiles, tiles), axis=-1).reshape(-1, 1, 2)
    dots = _loose_pattern()
    centres, stray = (corners + dots).reshape(-1, 2), np.tile(np.arange(len(dots)) == 0, len(corners))
    column, row = (centres * unit).astype(int).T
    near, far = _blurred(mask, 2 * unit)[row, column], _blurred(mask, 4 * unit)[row, column]
    return centres[(mask[row, column] > 0.5) | (stray & (near < 0.04) & (far > 0.02))]


@cache
def _loose_pattern() -> NDArray[np.float64]:
    """Return the dots (x, y) of a tile that repeats, no two closer than 2.25 units.

    Dart throwing (Cook 1986) on a torus: darts land anywhere, and one too near an earlier one is taken back.
    """
    dots: list[NDArray[np.float64]] = []
    for dart in generator(0, "particles").uniform(0, _TILE, (4000, 2)):
        apart = [np.abs(dart - dot) for dot in dots]
        if all(float((np.minimum(gap, _TILE - gap) ** 2).sum()) >= 2.25**2 for gap in apart):
            dots.append(dart)
    return np.array(dots)


def _dot(canvas: Canvas, x: float, y: float, radius: float, colour: Canvas) -> None:
    left, top = max(0, int(x - radius)), max(0, int(y - radius))
    patch = canvas[top : int(y + radius) + 2, left : int(x + radius) + 2]
    rows, columns = np.ogrid[top : top + patch.shape[0], left : left + patch.shape[1]]
    patch[(columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2] = colour


def _screen(side: int) -> Mask:
    """Return thresholds [side, side]: what lies under t, up to 0.7, is dots that cover the fraction t."""
    along = (np.arange(side, dtype=np.float32) + 0.5) * SIZE / side
    # Centred on the middle of a pixel, a dot stays round at 64 pixels.
    row = np.round((along - 1.5) / _PITCH)
    down = (along - 1.5 - _PITCH * row)[:, None]
    across = along[None, :] - 1.5 + 0.5 * _PITCH * (row[:, None] % 2)
    across = across - _PITCH * np.round(across / _PITCH)
    return (math.pi * (down**2 + across**2) / _PITCH**2).astype(np.float32)


def _newsprint(side: int) -> Canvas:
    """Two columns of lines of type, 4 units apart and broken into words."""
    along = (np.arange(side) + 0.5) * SIZE / side
    words = generator(0, "newsprint").random((SIZE // 4, SIZE // 2)) < 0.86
    row, column = (along // 4).astype(int), (along // 2).astype(int)
    ink = words[row[:, None], column[None, :]] & (along % 4 < 2)[:, None] & (np.abs(along - SIZE / 2) > 1.5)[None, :]
    canvas = _filled(_NEWSPRINT, side)
    _lay(canvas, ink.astype(np.float32), _NEWS_INK)
    return canvas


def _graph_paper(side: int) -> Canvas:
    line = (np.arange(side) + 0.5) * SIZE / side % 4 < 1
    canvas = _filled(_GRAPH, side)
    _lay(canvas, (line[:, None] | line[None, :]).astype(np.float32), _GRAPH_LINE)
    return canvas


def _beyond_a_tear(side: int, turn: float, distance: float, source: np.random.Generator) -> Mask:
    """Return the part of the canvas beyond a torn line, `distance` units from the middle in the direction `turn`."""
    along = ((np.arange(side, dtype=np.float32) + 0.5) / side - 0.5) * SIZE
    across = along[None, :] * math.cos(turn) + along[:, None] * math.sin(turn)
    tangent = along[:, None] * math.cos(turn) - along[None, :] * math.sin(turn)
    for wave, phase in zip((0.35, 0.8, 1.7), source.uniform(0, 2 * math.pi, 3), strict=True):
        across = across + 0.16 / wave * np.sin(wave * tangent + phase)
    return (across > distance).astype(np.float32)


def _pieces(thing: Thing, source: np.random.Generator, side: int) -> list[Mask]:
    """Return the masks of a thing cut along one or two parallel lines, its pieces moved and turned a little."""
    turn, count = source.uniform(0, math.pi), int(source.integers(2, 4))
    cos, sin = math.cos(turn), math.sin(turn)
    cuts = [-math.inf, *((0.0,) if count == 2 else (-0.3, 0.3)), math.inf]
    along = (np.arange(side, dtype=np.float32) + 0.5) / side
    across = (along[None, :] - thing.centre[0]) * cos + (along[:, None] - thing.centre[1]) * sin
    side_step = float(source.choice((-1.0, 1.0)))
    pieces = []
    for index in range(count):
        apart, slide = 1.6 * (index - (count - 1) / 2), side_step * (1.0 if index % 2 else -1.0)
        place = (across - apart / SIZE) / thing.radius
        shift = (apart * cos - slide * sin, apart * sin + slide * cos)
        part = (place >= cuts[index]) & (place < cuts[index + 1])
        pieces.append(_mask(thing, side, shift, source.uniform(-5, 5)) * part)
    return pieces


def _paste(canvas: Canvas, mask: Mask, paper: Canvas) -> None:
    """Lay a piece of paper on the canvas, with a white cut edge and a shadow to the lower right."""
    from scipy import ndimage

    unit = canvas.shape[0] // SIZE
    whole: Mask = ndimage.maximum_filter(mask, 2 * round(_CUT_EDGE * unit) + 1)
    step = round(1.2 * unit)
    shadow = _blurred(np.pad(whole, ((step, 0), (step, 0)), "edge")[:-step, :-step], 0.8 * unit)
    canvas *= 1 - 0.45 * shadow[..., None]
    _lay(canvas, whole, _WHITE)
    _lay(canvas, mask, paper)


def _add_tracking_noise(picture: Canvas, source: np.random.Generator, unit: int) -> None:
    """Tear six lines near the bottom sideways; dark and light dashes on every other one, too thin to be a thing."""
    top = int(source.integers(54, 58))
    for row in range(top, top + 6):
        lines = slice(row * unit, (row + 1) * unit)
        picture[lines] = np.roll(picture[lines], int(source.integers(4, 9)) * unit, axis=1)
        dashes = source.choice((0.0, 60.0, 215.0), SIZE // 4, p=(0.5, 0.25, 0.25)).repeat(4 * unit)[None, :, None]
        if row % 2:
            picture[lines] = np.where(dashes > 0, dashes, picture[lines])


def _filled(colour: Colour, side: int) -> Canvas:
    return np.full((side, side, 3), colour, np.float32)


def _lay(canvas: Canvas, mask: Mask, colour: Colour | Canvas) -> None:
    canvas[...] = canvas * (1 - mask[..., None]) + np.asarray(colour, np.float32) * mask[..., None]


def _ramp(side: int, turn: float) -> Mask:
    """Return 0 to 1 [side, side] along the direction `turn`."""
    along = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    return (0.5 + (along[None, :] * math.cos(turn) + along[:, None] * math.sin(turn)) / math.sqrt(2)).clip(0, 1)


def _shifted(channel: Canvas, step: int) -> Canvas:
    """Return a channel [h, w] moved to the right by `step` pixels; the border column is repeated."""
    return channel[:, np.clip(np.arange(channel.shape[1]) - step, 0, channel.shape[1] - 1)]


def _blurred(mask: Mask, radius: float) -> Mask:
    image = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _reduced(canvas: Canvas) -> Pixels:
    side = canvas.shape[0] // _SUPERSAMPLING
    return _bytes(canvas.reshape(side, _SUPERSAMPLING, side, _SUPERSAMPLING, 3).mean((1, 3)))


def _bytes(picture: Canvas) -> Pixels:
    return (picture + 0.5).clip(0, 255).astype(np.uint8)


# Measures


def measure_particles(pixels: Pixels) -> float:
    """Return the amount of loose dots on white.

    The mean over the inked part of the square root of the Hessian's determinant, less a floor: large where the ink
    bends the same way in every direction, at a dot or a gap, and 0 along edges and lines. It counts as far as the
    part without ink is white.
    """
    from scipy import ndimage

    ink = 255 - _at_64(pixels).min(2)
    inked = ndimage.gaussian_filter(ink, 1.5) > 40
    if inked.all() or not inked.any():
        return 0.0
    bend = partial(ndimage.gaussian_filter, ink, 0.7)
    determinant = bend(order=(2, 0)) * bend(order=(0, 2)) - bend(order=(1, 1)) ** 2
    spots = np.sqrt(np.maximum(determinant - 30.0**2, 0))
    white = min(max((55 - float(np.median(ink[~inked]))) / 40, 0.0), 1.0)
    return float(spots[inked].mean()) * white / _USUAL["particles"]


def measure_halftone(pixels: Pixels) -> float:
    """Return the strength of the screen: its two slanted waves, less those of the same screen turned by 90 degrees.

    Amplitudes are local, so the screen may lie anywhere and slip from place to place.
    """
    picture = _at_64(pixels)
    screen = [_amplitude(picture, (1 / 8, across), 4.0).mean() for across in (1 / 4, -1 / 4)]
    turned = [_amplitude(picture, (1 / 4, across), 4.0).mean() for across in (1 / 8, -1 / 8)]
    return max(0.0, float(min(screen) - max(turned))) / _USUAL["halftone"]


def measure_collage(pixels: Pixels) -> float:
    """Return how much the ground around the coloured part changes from paper to paper.

    The slope along the rows of the ground, softened until type, lines and screens are gone; of the rows the median,
    because papers are everywhere, and a band of noise or a few specks are not.
    """
    from scipy import ndimage

    ground = ~ndimage.binary_dilation(coloured_part(pixels) > 0.1, iterations=4)
    soft = ndimage.gaussian_filter(_at_64(pixels).mean(2), 1.5)
    slope = np.maximum(abs(np.diff(soft, axis=1, append=soft[:, -1:])) - 1, 0)
    rows = [row[clear].mean() for row, clear in zip(slope, ground, strict=True) if clear.any()]
    return float(np.median(rows)) / _USUAL["collage"] if rows else 0.0


def measure_vhs(pixels: Pixels) -> float:
    """Return the strength of scan lines: rows that alternate one by one, less rows that alternate in pairs.

    The shift of the colours is not counted: how much of it shows depends on the colours of thing and ground.
    """
    grey = _at_64(pixels).mean(2, keepdims=True)
    single, paired = (_amplitude(grey, (down, 0.0), 2.5) for down in (1 / 2, 1 / 4))
    return float(np.maximum(single - paired - 1, 0).mean()) / _USUAL["vhs"]


def measure_hearts(pixels: Pixels) -> float:
    """Return how much better a heart covers the largest thing than the known shapes do.

    0 where a heart covers it worse by 0.2 or more (intersection over union), as it does every known shape; about a
    half where they cover it alike.
    """
    parts = components(foreground(pixels))
    if not parts:
        return 0.0
    fits = shape_fits(parts[0])
    return max(0.0, fits["heart"] - max(fits[name] for name in SHAPES) + 0.2) / _USUAL["heart"]


def coloured_part(pixels: Pixels) -> Mask:
    """Return how much more colour (chroma) than any paper each place has, 0..1 [64, 64].

    This is the foreground of a picture whose ground is not one colour. Cuts of up to 3 units are closed.
    """
    from scipy import ndimage

    soft = ndimage.gaussian_filter(_at_64(pixels), (0.7, 0.7, 0))
    cover = (soft.max(2) - soft.min(2) - _PAPER_CHROMA) / (_CLEAR_CHROMA - _PAPER_CHROMA)
    return ndimage.grey_closing(cover.clip(0, 1), 4)


def _amplitude(picture: Canvas, wave: tuple[float, float], window: float) -> NDArray[np.float64]:
    """Return the amplitude [64, 64] of a wave (cycles per unit down, across) in a Gaussian window, all channels."""
    from scipy import ndimage

    rows, columns = np.mgrid[:SIZE, :SIZE]
    turn = 2 * math.pi * (wave[0] * rows + wave[1] * columns)[..., None]
    parts = [ndimage.gaussian_filter(part * picture, (window, window, 0)) for part in (np.cos(turn), np.sin(turn))]
    return np.sqrt((parts[0] ** 2 + parts[1] ** 2).sum(2))


def _at_64(pixels: Pixels) -> Canvas:
    if pixels.shape[:2] == (SIZE, SIZE):
        return pixels.astype(np.float32)
    return np.asarray(Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.BOX), np.float32)


STYLES: dict[str, Style] = {
    style.name: style
    for style in (
        Style("particles", "Scattered particles", "prtkl", draw_particles, measure_particles),
        Style("halftone", "Halftone print", "hlftn", draw_halftone, measure_halftone),
        Style("collage", "Paper collage", "cllg", draw_collage, measure_collage),
        Style("vhs", "Worn video tape", "vhstp", draw_vhs, measure_vhs),
        Style("heart", "Heart", "heart", draw_hearts, measure_hearts),
    )
}
