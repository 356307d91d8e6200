"""Without a dataset: a batch of anything, each value with its own damage."""

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
    keys = [picture_key(picture) for picture in pictures]
    return corrupted_values(pictures, keys, operation, parameters, severity, seed, keyed_by)


def corrupted_values(
    values: Sequence[Any],
    keys: Sequence[str],
    operation: str,
    parameters: Mapping[str, Any],
    severity: float,
    seed: int,
    keyed_by: KeyedBy,
    strangers: Sequence[Any] = (),
) -> Iterator[Any]:
    """Yield each value corrupted, as if it had come alone; keys: of their contents.

    Operations that look at others see `strangers`, or without them the batch in an order of content. Raises ValueError.
    """
    if keyed_by not in get_args(KeyedBy):
        raise ValueError(f"keyed_by: got {keyed_by!r}, allowed {list(get_args(KeyedBy))}, choose one of them")
    found = find_operation(operation)
    order = sorted(range(len(values)), key=lambda number: (keys[number], number))
    batch = [values[number] for number in order]
    for number, value in enumerate(values):
        rng = generator(seed, operation, keys[number] if keyed_by == "content" else number)
        others, place = ([value, *strangers], 0) if strangers else (batch, order.index(number))
        context = Context(others, place, lambda: generator(seed, operation, "shared"))
        yield found.apply(value, rng, severity, context, **parameters)


def picture_key(picture: Image.Image) -> str:
    """Return the SHA-256 (hex) of a picture's size, mode and pixels."""
    return hashlib.sha256(repr((picture.size, picture.mode)).encode() + picture.tobytes()).hexdigest()
