"""Short films out of a still picture: it pans, zooms, turns or swims."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

MOTIONS = ("pan", "zoom", "turn", "waves")
_CELLS = 12  # the motion is drawn at the corners of so many cells each way and runs straight between them
_INSIDE = 0.01  # px; on the very edge Pillow sees nothing


def velocities(motion: str, rng: np.random.Generator) -> np.ndarray:
    """Return how fast each corner of a grid of cells moves, [cells + 1, cells + 1, (x, y)], as parts of the side.

    Its root mean square is 1, whatever the motion; "mixed" adds them all up. The same is drawn for every motion.
    """
    angle, sense = rng.uniform(0, 2 * np.pi), rng.choice((-1.0, 1.0))
    centre, waves, phases = rng.uniform(0.3, 0.7, 2), rng.uniform(1, 3, (2, 2)), rng.uniform(0, 2 * np.pi, 2)
    weights = rng.dirichlet(np.ones(len(MOTIONS)))
    where = _corners()
    across, down = np.moveaxis(where - centre, -1, 0)
    fields = [
        np.broadcast_to([np.cos(angle), np.sin(angle)], where.shape),
        -np.stack([across, down], -1),
        sense * np.stack([-down, across], -1),
        np.sin(2 * np.pi * (where @ waves) + phases),
    ]
    even = [field / np.sqrt(np.square(field).sum(-1).mean()) for field in fields]
    chosen = np.tensordot(weights, even, 1) if motion == "mixed" else even[MOTIONS.index(motion)]
    return chosen / np.sqrt(np.square(chosen).sum(-1).mean())


def frames(planes: list[Image.Image], field: np.ndarray, speed: float, count: int) -> Iterator[list[Image.Image]]:
    """Yield `count` frames of a moving picture, the first one still.

    planes: 8-bit grey images of any sizes that move alike. speed: parts of the side per frame; what comes in from
    outside repeats the edge.
    """
    for number in range(count):
        yield [_moved(plane, field * (speed * number)) if number else plane for plane in planes]


def _moved(plane: Image.Image, displacement: np.ndarray) -> Image.Image:
    """Return the plane looked at through a grid whose corners are displaced by parts of the side."""
    size = np.array(plane.size)
    looked_at = np.clip((_corners() + displacement) * size, _INSIDE, size - _INSIDE)
    quads = np.concatenate([looked_at[:-1, :-1], looked_at[1:, :-1], looked_at[1:, 1:], looked_at[:-1, 1:]], -1)
    edges = np.round(_corners() * size).astype(int)
    boxes = np.concatenate([edges[:-1, :-1], edges[1:, 1:]], -1)
    cells = zip(boxes.reshape(-1, 4).tolist(), quads.reshape(-1, 8).tolist(), strict=True)
    mesh = [(tuple(box), tuple(quad)) for box, quad in cells if box[0] < box[2] and box[1] < box[3]]
    return plane.transform(plane.size, Image.Transform.MESH, mesh, Image.Resampling.NEAREST)


def _corners() -> np.ndarray:
    """Return the corners of the cells as parts of the side, [cells + 1, cells + 1, (x, y)]."""
    y, x = np.mgrid[0 : _CELLS + 1, 0 : _CELLS + 1] / _CELLS
    return np.stack([x, y], -1)
