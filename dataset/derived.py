"""Items that come out of another dataset, so that datasets of different chains become one."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .dataset import Dataset, Item
from .images import Colour
from .sample import Sample, Step


@dataclass(frozen=True)
class Derived:
    """An item of a dataset after that dataset's chain.

    number: copies of one item have different numbers, and so different random streams in the steps that follow.
    times: what the item's repeats are multiplied by. Everything else is as of `Item`; size is the size after the chain.
    """

    dataset: Dataset
    index: int
    number: int = 0
    times: int = 1

    @property
    def _item(self) -> "Item | Derived":
        return self.dataset.items[self.index]

    @property
    def path(self) -> Path:
        """The file the picture comes from."""
        return self._item.path

    @property
    def name(self) -> str:
        """The name of the file, and the number of a further copy."""
        return f"{self._item.name} ({self.number + 1})" if self.number else self._item.name

    @cached_property
    def caption(self) -> str:
        """The caption after the chain, of the first variant."""
        return self.caption_of(0)

    @property
    def repeats(self) -> int:
        """How often the item counts in one pass."""
        return self._item.repeats * self.times

    @property
    def background(self) -> Colour:
        """The colour transparency is laid over."""
        return self._item.background

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels after the chain."""
        return self.dataset.framed_size(self.index)

    @property
    def varies(self) -> bool:
        """True when variants can come out differently."""
        return self.dataset.varies

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps the item has gone through."""
        return (*self._item.steps, *self.dataset.steps)

    @cached_property
    def key(self) -> str:
        """SHA-256 (hex) of the file's bytes, the chain and the number; of nothing more, so that order is no matter.

        After a step that looks at other samples also of their files.
        """
        if not self.dataset.steps and not self.number:
            return self._item.key
        text = json.dumps([self._item.key, self.dataset.chain_key, self.number])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def origin(self) -> list[Any]:
        """Return what decides the sample beyond `key`, as JSON: captions and backgrounds as they were loaded."""
        return [self._item.caption, list(self.background), *self._item.origin, self.dataset.company_key]

    @property
    def file_key(self) -> str:
        """SHA-256 (hex) of the bytes of the file the picture comes from."""
        return self._item.file_key

    def is_on_disk(self) -> bool:
        """Say whether the file is still there, with the bytes it was loaded with."""
        return self._item.is_on_disk()

    def sample(self, variant: int = 0) -> Sample:
        """Return the sample after the chain. Raises ValueError as `Item.sample`."""
        return self.dataset.sample(self.index, variant)

    def marked(self, variant: int = 0) -> Sample:
        """Return the sample without its picture."""
        return self.dataset.marked(self.index, variant)

    def encoded_steps(self, variant: int) -> list[tuple[Step, np.random.Generator]]:
        """Return the steps that wait until the sample is encoded."""
        return self.dataset.encoded_steps(self.index, variant)

    def caption_of(self, variant: int) -> str:
        """Return the caption of a variant."""
        return self.dataset.caption(self.index, variant)


def derived_items(dataset: Dataset, number: int = 0) -> tuple[Item | Derived, ...]:
    """Return a dataset's items as they are after its chain; they can be in a dataset of another chain."""
    if not dataset.steps and not number:
        return dataset.items
    return tuple(Derived(dataset, index, number) for index in range(len(dataset)))


def merged(datasets: Sequence[Dataset]) -> Dataset:
    """Return one dataset of the items of several, each after its own chain, in order."""
    items = tuple(item for dataset in datasets for item in derived_items(dataset))
    notes = tuple(note for dataset in datasets for note in dataset.notes)
    return Dataset(items, notes=notes, broken=tuple(file for dataset in datasets for file in dataset.broken))


def with_copies(dataset: Dataset, step: Step, copies: int = 1, keep_clean: bool = False) -> Dataset:
    """Return a dataset in which `step` was applied to so many copies of each item, each drawn on its own.

    copies: one or more. keep_clean: the untouched item stays too. Raises ValueError for fewer than one copy.
    """
    if copies < 1:
        raise ValueError(f"copies: got {copies}, allowed one or more, change it")
    if copies == 1 and not keep_clean:
        return dataset.with_step(step)
    clean = derived_items(dataset) if keep_clean else ()
    # A first copy beside its clean twin is another item than it: both must not have one key.
    first = 1 if keep_clean else 0
    # Each set of copies is a dataset of its own: no picture looks at its own twins as if they were others.
    sets = [replace(dataset, items=_numbered(dataset, first + one), steps=(step,)) for one in range(copies)]
    damaged = tuple(item for each in sets for item in derived_items(each))
    return Dataset((*clean, *damaged), notes=dataset.notes, broken=dataset.broken)


def _numbered(dataset: Dataset, number: int) -> tuple["Derived", ...]:
    return tuple(Derived(dataset, index, number) for index in range(len(dataset)))
