"""Pictures without a dataset: a batch, each picture with its own damage."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

from PIL import Image

from ..dataset.seeds import generator
from .context import Context
from .registry import find_operation

KeyedBy = Literal["content", "number"]


def corrupted_pictures(
    pictures: Sequence[Image.Image],
    operation: str,
    parameters: Mapping[str, Any],
    severity: float = 1.0,
    seed: int = 0,
    keyed_by: KeyedBy = "content",
) -> Iterator[Image.Image]:
    """Yield each picture corrupted, as if it had come alone; only operations that look at others see the batch.

    keyed_by: "content" gives equal pictures equal damage wherever they stand, "number" gives each place its own.
    Raises ValueError for what `Operation.apply` refuses.
    """
    if keyed_by not in get_args(KeyedBy):
        raise ValueError(f"keyed_by: got {keyed_by!r}, allowed {list(get_args(KeyedBy))}, choose one of them")
    found = find_operation(operation)
    keys = [picture_key(picture) for picture in pictures]
    order = sorted(range(len(pictures)), key=lambda number: (keys[number], number))
    others = [pictures[number] for number in order]
    for number, picture in enumerate(pictures):
        rng = generator(seed, operation, keys[number] if keyed_by == "content" else number)
        context = Context(others, order.index(number), lambda: generator(seed, operation, "shared"))
        yield found.apply(picture, rng, severity, context, **parameters)


def picture_key(picture: Image.Image) -> str:
    """Return the SHA-256 (hex) of a picture's size, mode and pixels."""
    return hashlib.sha256(repr((picture.size, picture.mode)).encode() + picture.tobytes()).hexdigest()
