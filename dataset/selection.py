"""Some of a dataset's pictures: by number, caption, size or chance, and the rest."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from .captions import contains_word
from .dataset import Dataset, Item
from .derived import Derived, derived_items
from .seeds import derive_seed

MAX_REPEATS = 999  # what a folder called 999_name can say

_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


@dataclass(frozen=True)
class Selection:
    """Which pictures are meant: those that pass every test that is set.

    numbers: like "1-29, 40, 52", counted from 1; empty for all. contains: words or phrases, separated by commas, that
    the caption must all have, whatever the case; lacks: of which it may have none. min_side: the shorter side, in
    pixels before the chain, is at least this; max_side: the longer side is at most this, 0 for any. count: so many of
    those, drawn by `seed`; 0 for all. invert: the others are meant.
    """

    numbers: str = ""
    contains: str = ""
    lacks: str = ""
    min_side: int = 0
    max_side: int = 0
    count: int = 0
    seed: int = 0
    invert: bool = False

    def indices(self, dataset: Dataset, among: Collection[int] | None = None) -> list[int]:
        """Return the indices meant, in order; `among`: of these only. Raises ValueError for numbers that are not."""
        wanted = numbers_in(self.numbers, len(dataset))
        fitting = [
            index
            for index in range(len(dataset))
            if index in wanted and (among is None or index in among) and self._fits(dataset, index)
        ]
        chosen = set(drawn(dataset, fitting, self.count, self.seed) if self.count else fitting)
        return [index for index in range(len(dataset)) if (index in chosen) != self.invert]

    def _fits(self, dataset: Dataset, index: int) -> bool:
        size = dataset.items[index].size
        if min(size) < self.min_side or (self.max_side and max(size) > self.max_side):
            return False
        if not self.contains.strip() and not self.lacks.strip():
            return True
        caption = dataset.caption(index).casefold()
        return all(contains_word(caption, word) for word in _words(self.contains)) and not any(
            contains_word(caption, word) for word in _words(self.lacks)
        )


def numbers_in(text: str, count: int) -> frozenset[int]:
    """Return the indices, from 0, of numbers like "1-29, 40, 52", from 1; all of `count` when there is no text.

    Raises ValueError naming the part that is no number, no range, or outside 1 to `count`.
    """
    parts = [part for part in re.split(r"[,;\s]+", re.sub(r"\s*-\s*", "-", text.strip())) if part]
    found: set[int] = set()
    for part in parts:
        match = _RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= count:
            raise ValueError(f"numbers: got {part!r}, allowed numbers and ranges from 1 to {count}, change it")
        found |= set(range(first - 1, last))
    return frozenset(found) if parts else frozenset(range(count))


def drawn(dataset: Dataset, indices: Iterable[int], count: int, seed: int) -> list[int]:
    """Return `count` of `indices` (all when there are fewer), in order: a choice by content, so names do not matter.

    Exact copies are told apart by their place.
    """
    ranked = sorted(indices, key=lambda index: (derive_seed(seed, "select", dataset.items[index].key), index))
    return sorted(ranked[:count])


def parted(dataset: Dataset, indices: Collection[int], repeats: int = 1) -> tuple[Dataset, Dataset]:
    """Return (the items at `indices`, the others), each as they come out of the whole dataset's chain.

    A step that looks at other samples still sees all of them. repeats: how much more often the first count.
    Raises ValueError when an item would count more than `MAX_REPEATS` times.
    """
    wanted = set(indices)
    gathers = any(getattr(step, "gathers", False) for step in dataset.steps)
    # A step that gathers would see fewer samples: then the items are taken as they are after the chain.
    items = derived_items(dataset) if gathers else dataset.items
    kept = tuple(repeated(item, repeats) for index, item in enumerate(items) if index in wanted)
    rest = tuple(item for index, item in enumerate(items) if index not in wanted)
    steps = () if gathers else dataset.steps
    return (
        replace(dataset, items=kept, steps=steps),
        replace(dataset, items=rest, steps=steps, notes=(), broken=()),
    )


def repeated(item: Item | Derived, repeats: int) -> Item | Derived:
    """Return an item that counts `repeats` times as often. Raises ValueError above `MAX_REPEATS` in all."""
    total = item.repeats * repeats
    if not 1 <= total <= MAX_REPEATS:
        raise ValueError(
            f"repeats: got {repeats} for {item.name}, which counts {item.repeats} times already, "
            f"allowed 1 to {MAX_REPEATS} in all, lower it"
        )
    return replace(item, times=item.times * repeats) if isinstance(item, Derived) else replace(item, repeats=total)


def _words(text: str) -> list[str]:
    return [" ".join(word.split()).casefold() for word in text.split(",") if word.strip()]
