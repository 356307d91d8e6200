"""Captions whose parts have lost their order."""

import re

import numpy as np

from ...dataset.captions import unmask_triggers
from ..context import Context
from ..registry import Parameter, operation
from .words import holds_mask, mask_triggers, parts_of

_SENTENCE = re.compile(r"(?<=[.!?])\s+")


@operation(
    "order",
    Parameter(
        "unit",
        "tag",
        "What is moved: tag: what stands between commas, or sentences when there is no comma",
        choices=("tag", "word", "sentence"),
    ),
    Parameter("keep_first", 0, "So many at the start stay where they are", 0, 100),
    Parameter("window", 0, "How far one may move; 0: anywhere", 0, 100),
    subject="captions",
    wants_context=True,
)
def caption_shuffle(
    caption: str,
    rng: np.random.Generator,
    severity: float,
    *,
    context: Context,
    unit: str,
    keep_first: int,
    window: int,
) -> str:
    """Caption shuffle: tags, words or sentences change places; those with a trigger keep theirs.

    Severity is how far they wander; at 1 without a window every order is equally likely.
    """
    parts, joint, masks = _units(caption, context.triggers, unit)
    loose = [number for number in range(keep_first, len(parts)) if not holds_mask(parts[number], masks)]
    order = _wandered(rng, len(loose), severity, window)
    if (order == np.arange(len(loose))).all():
        return caption
    moved = dict(zip(loose, (parts[loose[place]] for place in order), strict=True))
    return unmask_triggers(joint.join(moved.get(number, part) for number, part in enumerate(parts)), masks)


def _units(caption: str, triggers: tuple[str, ...], unit: str) -> tuple[list[str], str, dict[str, str]]:
    if unit == "tag":
        return parts_of(caption, triggers)
    masked, masks = mask_triggers(caption, triggers)
    return (masked.split() if unit == "word" else _SENTENCE.split(masked.strip())), " ", masks


def _wandered(rng: np.random.Generator, count: int, severity: float, window: int) -> np.ndarray:
    """Return an order of `count` places: each place plus a random step, sorted."""
    steps, places = rng.random(count), np.arange(count)
    if window:
        return np.argsort(places + severity * window * steps, kind="stable")
    return np.argsort((1 - severity) * places + severity * count * steps, kind="stable")
