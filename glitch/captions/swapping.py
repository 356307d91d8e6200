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


def _ranks(context: Context) -> tuple[Sequence[int], int]:
    """Return the dataset's places in an order that all its items agree on, and where the item comes in it.

    An item alone comes first in an order of one.
    """
    if not len(context.others):
        return [0], 0
    order, ranks = context.once("order", lambda: _order(context))
    return order, ranks[context.place]


def _order(context: Context) -> tuple[list[int], list[int]]:
    """Return the places in the order that is drawn for them, and where each place comes in it."""
    order = context.shared().permutation(len(context.others))
    return order.tolist(), np.argsort(order).tolist()


def _next_in_cycle(caption: str, context: Context, severity: float) -> str:
    order, rank = _ranks(context)
    count = round(severity * len(order))
    if not len(context.others) or rank >= count or count < 2:
        return caption
    lenders = context.once("lenders", lambda: _lenders(order[:count], context.others), of=count)
    return str(context.others[lenders[context.place]])


def _lenders(places: Sequence[int], captions: Sequence[str]) -> dict[int, int]:
    """Return for each place the one whose caption it gets: the next but so many in a ring of all of them.

    In the ring equal captions stand side by side, and the step leads out of the largest such group. When all captions
    differ that is a random cycle with step 1.
    """
    first: dict[str, int] = {}
    for number, place in enumerate(places):
        first.setdefault(captions[place], number)
    step = max(Counter(captions[place] for place in places).values())
    ring = sorted(places, key=lambda place: first[captions[place]])
    return dict(zip(ring, ring[step:] + ring[:step], strict=True))
