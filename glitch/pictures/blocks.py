"""Blocks of a picture in the wrong place."""

import numpy as np
from PIL import Image

from ..context import Context
from ..registry import Parameter, operation
from .channels import company
from .pixels import packed, unpacked


@operation(
    "displacement",
    Parameter("block", 16, "Side of a block", 4, 64, unit="px"),
    Parameter("fraction", 0.6, "Part of the blocks that is displaced", 0, 1, 0.01),
    Parameter("shift", 0.2, "Farthest that a block's content comes from, as part of the picture's side", 0, 0.5, 0.01),
    Parameter("run", 3, "Mean number of neighbouring blocks that are lost together", 1, 32, unit="blocks"),
    Parameter(
        "motion",
        "random",
        "Each run of blocks moves its own way, or all one way, or is filled from the best match in another picture",
        choices=("random", "drift", "other picture"),
    ),
    tag="block",
    measured_by="block_seams",
    wants_context=True,
)
def block_displacement(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    context: Context,
    block: int,
    fraction: float,
    shift: float,
    run: int,
    motion: str,
) -> Image.Image:
    """Block displacement: video blocks whose motion was lost, filled from the wrong place.

    Severity is the part of the blocks that is displaced; more severity adds blocks and moves none. A picture without
    company is matched with its own mirror image.
    """
    pixels = packed(image)
    rows, columns = -(-pixels.shape[0] // block), -(-pixels.shape[1] // block)
    lost, ways = _runs(rows, columns, run, rng)
    taken = np.zeros(rows * columns, bool)
    taken[np.argsort(lost, axis=None, kind="stable")[: round(severity * fraction * taken.size)]] = True
    taken = taken.reshape(rows, columns)
    if motion == "other picture":
        other = company(image, context, rng)
        return unpacked(_gathered(pixels, packed(other), taken, _best_matches(image, other, block, shift), block))
    if motion == "drift":
        ways = np.broadcast_to(ways[:1, :1], ways.shape)
    offsets = np.rint(ways * shift * max(pixels.shape)).astype(np.int64)
    return unpacked(_gathered(pixels, pixels, taken, offsets, block))


@operation(
    "displacement",
    Parameter("grid", 8, "Pieces along each side", 2, 64),
    Parameter("fraction", 1.0, "Part of the pieces that is moved", 0, 1, 0.01),
    Parameter("rotation", True, "Moved pieces are also turned by 0, 90, 180 or 270 degrees"),
    tag="jigsaw",
    measured_by="structure_loss",
)
def block_shuffle(
    image: Image.Image, rng: np.random.Generator, severity: float, *, grid: int, fraction: float, rotation: bool
) -> Image.Image:
    """Block shuffle: the picture cut into a grid whose pieces are laid out in the wrong order.

    Severity is the part of `fraction` of the pieces that is moved. Pieces that are not square are stretched when
    they are turned.
    """
    pixels = packed(image)
    rows, columns = (_Cuts(side, grid) for side in pixels.shape)
    order, turns = rng.permutation(rows.count * columns.count), rng.integers(0, 4, rows.count * columns.count)
    moved = order[: round(severity * fraction * order.size)]
    source = np.arange(order.size)
    # In a ring: one more piece changes two places and leaves the others as they were.
    source[moved] = np.roll(moved, 1)
    turned = np.zeros_like(turns)
    if rotation:
        turned[moved] = turns[moved]
    return unpacked(_laid_out(pixels, rows, columns, source, turned))


class _Cuts:
    """A side cut into at most `pieces` parts as equal as whole pixels allow."""

    def __init__(self, side: int, pieces: int) -> None:
        self.count = min(side, pieces)
        edges = np.arange(self.count + 1) * side // self.count
        self.firsts, self.lengths = edges[:-1], np.diff(edges)
        self.piece = np.repeat(np.arange(self.count), self.lengths)
        self.inside = (np.arange(side) - self.firsts[self.piece] + 0.5) / self.lengths[self.piece]

    def place(self, piece: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Return the pixels at a part (0..1) of the way through pieces."""
        return self.firsts[piece] + (inside * self.lengths[piece]).astype(np.int64)


def _laid_out(pixels: np.ndarray, rows: _Cuts, columns: _Cuts, source: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Return the pieces (numbered row by row) named by `source`, turned by quarters."""
    result = np.empty_like(pixels)
    for target, (origin, quarters) in enumerate(zip(source.tolist(), turns.tolist(), strict=True)):
        row, column = divmod(target, columns.count)
        down, right = rows.inside[rows.piece == row], columns.inside[columns.piece == column]
        if quarters % 2:
            down, right = right, down
        source_row, source_column = (np.array(place) for place in divmod(origin, columns.count))
        piece = pixels[np.ix_(rows.place(source_row, down), columns.place(source_column, right))]
        top, left = rows.firsts[row], columns.firsts[column]
        turned = np.rot90(piece, quarters)
        result[top : top + turned.shape[0], left : left + turned.shape[1]] = turned
    return result


def _runs(rows: int, columns: int, run: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return for every block a number 0..1 and a way (down, right) -1..1, both the same along a run in a row."""
    numbers, ways = rng.random((rows, columns)), rng.uniform(-1, 1, (rows, columns, 2))
    begins = rng.random((rows, columns)) * run < 1
    begins[:, 0] = True
    first = np.maximum.accumulate(np.where(begins, np.arange(columns), 0), axis=1)
    row = np.arange(rows)[:, None]
    return numbers[row, first], ways[row, first]


def _gathered(pixels: np.ndarray, source: np.ndarray, taken: np.ndarray, offsets: np.ndarray, block: int) -> np.ndarray:
    """Return pixels with the taken blocks filled from source at their offsets (down, right), held at the border."""
    height, width = pixels.shape
    down, right, inside = (
        np.repeat(np.repeat(grid, block, 0)[:height], block, 1)[:, :width]
        for grid in (*np.moveaxis(offsets.astype(np.int32), -1, 0), taken)
    )
    rows = np.clip(np.arange(height, dtype=np.int32)[:, None] + down, 0, height - 1)
    columns = np.clip(np.arange(width, dtype=np.int32) + right, 0, width - 1)
    return np.where(inside, source[rows, columns], pixels)


def _best_matches(image: Image.Image, other: Image.Image, block: int, shift: float) -> np.ndarray:
    """Return for each block where the other picture looks most like it (down, right), of 7x7 places: full search.

    Alike is the least sum of absolute differences of luma, as in video coding, of both pictures made smaller.
    """
    side = 4 if block >= 8 else 2
    own, foreign = (_samples(one, block, side) for one in (image, other))
    reach = shift * max(image.size) * side / block
    steps = np.unique(np.rint(np.linspace(-reach, reach, 7)).astype(np.int64))
    ways = np.array([(down, right) for down in steps for right in steps])
    rows, columns = (np.arange(length) for length in own.shape)
    losses = []
    for down, right in ways.tolist():
        moved = foreign[np.clip(rows + down, 0, rows.size - 1)][:, np.clip(columns + right, 0, columns.size - 1)]
        losses.append(_block_sums(np.abs(own - moved), side))
    return np.rint(ways[np.argmin(losses, axis=0)] * (block / side)).astype(np.int64)


def _samples(image: Image.Image, block: int, side: int) -> np.ndarray:
    """Return the luma of a picture made so small that a block is `side` samples wide."""
    columns, rows = (-(-length // block) for length in image.size)
    whole = image.convert("L").crop((0, 0, columns * block, rows * block))
    return np.asarray(whole.resize((columns * side, rows * side), Image.Resampling.BOX), np.int16)


def _block_sums(values: np.ndarray, side: int) -> np.ndarray:
    rows, columns = (length // side for length in values.shape)
    return values.reshape(rows, side, columns, side).sum((1, 3))
