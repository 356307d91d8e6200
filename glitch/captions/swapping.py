"""Captions that belong to other pictures: false captions, and one caption for all."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..context import Context
from ..registry import Parameter, operation
from .words import with_triggers


@operation(
    "wrong text",
    Parameter("scenes", "", "Scene descriptions to hand out, one a line; empty swaps the dataset's own captions"),
    subject="captions",
    wants_context=True,
)
def false_captions(caption: str, rng: np.random.Generator, severity: float, *, context: Context, scenes: str) -> str:
    """False captions: each picture gets the caption of another one, or one of a list of scenes.

    Severity is the share of the pictures. The captions go round among them in one cycle (Sattolo's), so that none keeps
    its own, unless more than half of them share one text. The item's own triggers stay.
    """
    lines = [line.strip() for line in scenes.splitlines() if line.strip()]
    if not lines:
        return with_triggers(_next_in_cycle(caption, context, severity), context.triggers)
    order, rank = _ranks(context)
    if rank >= round(severity * len(order)):
        return caption
    return with_triggers(lines[rank % len(lines)], context.triggers)


@operation(
    "wrong text",
    Parameter("clusters", 1, "How many captions are left; 1 gives all pictures the same", 1, 1000),
    Parameter("text", "", "The one caption for all; empty takes the dataset's own"),
    subject="captions",
    wants_context=True,
)
def caption_collapse(
    caption: str, rng: np.random.Generator, severity: float, *, context: Context, clusters: int, text: str
) -> str:
    """Caption collapse: all pictures share one caption, or a few: the way to the mean picture.

    Severity is the share of the pictures. The item's own triggers stay.
    """
    order, rank = _ranks(context)
    if rank >= round(severity * len(order)):
        return caption
    lender = order[rank % clusters]
    shared = text.strip() or (context.others[lender] if len(context.others) else caption)
    return with_triggers(shared, context.triggers)


def _ranks(context: Context) -> tuple[list[int], int]:
    """Return the dataset's places in an order that all its items agree on, and where the item comes in it.

    An item alone comes first in an order of one.
    """
    if not len(context.others):
        return [0], 0
    order = context.shared().permutation(len(context.others)).tolist()
    return order, order.index(context.place)


def _next_in_cycle(caption: str, context: Context, severity: float) -> str:
    order, rank = _ranks(context)
    taking_part = order[: round(severity * len(order))]
    if not len(context.others) or rank >= len(taking_part) or len(taking_part) < 2:
        return caption
    ring, step = _ring(taking_part, context.others)
    return str(context.others[ring[(ring.index(context.place) + step) % len(ring)]])


def _ring(places: Sequence[int], captions: Sequence[str]) -> tuple[list[int], int]:
    """Return the places with equal captions side by side, and the step that leads out of the largest such group.

    When all captions differ that is a random cycle with step 1.
    """
    first: dict[str, int] = {}
    for number, place in enumerate(places):
        first.setdefault(captions[place], number)
    sizes = Counter(captions[place] for place in places)
    return sorted(places, key=lambda place: first[captions[place]]), max(sizes.values())
