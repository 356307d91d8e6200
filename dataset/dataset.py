"""The dataset: items plus a chain of steps. Small, frozen, and lazy: pixels are read when a sample is asked for."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .captions import TriggerWord
from .company import Company
from .files import content_key
from .images import BrokenImage, Colour, open_rgb
from .sample import Sample, Step, twins_among
from .seeds import generator

if TYPE_CHECKING:
    from .derived import Derived


@dataclass(frozen=True)
class Item:
    """One picture file with its caption.

    name: path relative to the dataset's folder, with forward slashes. repeats: how often it counts in one pass.
    key: SHA-256 (hex) of the file's bytes. size: (width, height) in pixels after EXIF rotation.
    background: the colour transparency is laid over.
    """

    path: Path
    name: str
    caption: str
    repeats: int
    key: str
    size: tuple[int, int]
    background: Colour = (255, 255, 255)

    def is_on_disk(self) -> bool:
        """Say whether the file is still there, with the bytes it was loaded with."""
        return self.path.is_file() and content_key(self.path) == self.key

    @property
    def file_key(self) -> str:
        """The same as `key`: the item is a file."""
        return self.key

    @property
    def origin(self) -> list[Any]:
        """Return nothing: what decides the sample is all in the item's own fields."""
        return []

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps the item has gone through: none, it comes from a file."""
        return ()

    @property
    def varies(self) -> bool:
        """False: a file has one variant."""
        return False

    def caption_of(self, variant: int) -> str:
        """Return the caption, the same for every variant."""
        return self.caption

    def encoded_steps(self, variant: int) -> list[tuple[Step, np.random.Generator]]:
        """Return no steps: a file has none."""
        return []

    def marked(self, variant: int = 0) -> Sample:
        """Return the sample with a small black picture in place of its own: quick, for captions."""
        return Sample(_NO_PICTURE, self.caption, self.size, key=self.key)

    def sample(self, variant: int = 0) -> Sample:
        """Return the picture decoded to RGB with its caption, the same for every variant.

        Raises ValueError when the file was changed, removed or damaged after the dataset was loaded.
        """
        if not self.is_on_disk():
            raise ValueError(f"{self.name}: the file changed after the dataset was loaded, queue the graph again")
        try:
            image = open_rgb(self.path, self.background)
        except BrokenImage as error:
            raise ValueError(f"{self.name}: {error}, repair or remove the file") from error
        return Sample(image, self.caption, image.size, key=self.key)


@dataclass(frozen=True)
class Dataset:
    """Items in a fixed order, and the steps that every sample goes through, in order.

    Every random choice in the chain is a function of (the step's seed, its name, the item's key, the variant).
    notes: lines for the report that were found while loading. broken: (name, reason) of the files that were skipped.
    """

    items: tuple["Item | Derived", ...]
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)
    broken: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    def __len__(self) -> int:
        return len(self.items)

    def with_step(self, step: Step) -> "Dataset":
        """Return a dataset with one more step at the end of the chain."""
        return replace(self, steps=(*self.steps, step))

    def sample(self, index: int, variant: int = 0) -> Sample:
        """Return item `index` after the whole chain; other variants differ only where a step varies."""
        sample = self.items[index].sample(variant)
        for position, step in enumerate(self.steps):
            sample = self._applied(step, position, sample, index, variant)
        return sample

    def caption(self, index: int, variant: int = 0) -> str:
        """Return the caption after the chain; decodes the picture only if a step reads both."""
        return self.marked(index, variant).caption

    def marked(self, index: int, variant: int = 0) -> Sample:
        """Return the sample with its caption, triggers and damage but without its picture, if no step reads both."""
        if any(step.touches == "both" for step in (*self.items[index].steps, *self.steps)):
            return self.sample(index, variant)
        sample = self.items[index].marked(variant)
        for position, step in enumerate(self.steps):
            if step.touches == "caption":
                sample = self._applied(step, position, sample, index, variant)
            elif mark := getattr(step, "mark", None):
                sample = mark(sample, self._stream(position, index, variant))
        return sample

    def encoded_steps(self, index: int, variant: int = 0) -> list[tuple[Step, np.random.Generator]]:
        """Return the steps that wait until the sample is encoded, in order, each with the item's own stream.

        They are those whose `touches` is "latent" or "conditioning"; each has a method ``apply_encoded(value, rng)``.
        """
        item = self.items[index]
        earlier = item.encoded_steps(variant)
        return earlier + [
            (step, self._stream(position, index, variant))
            for position, step in enumerate(self.steps)
            if step.touches in ("latent", "conditioning")
        ]

    def framed_size(self, index: int, variant: int = 0) -> tuple[int, int]:
        """Return (width, height) after the chain, from the item's size alone.

        A step that changes the size has a method ``output_size(size) -> size``; the others keep it.
        """
        size = self.items[index].size
        for step in self.steps:
            change = getattr(step, "output_size", None)
            size = change(size) if change else size
        return size

    @cached_property
    def content_order(self) -> tuple[int, ...]:
        """The indices of all items in an order that does not depend on their own: by key, then by caption."""
        items = self.items
        return tuple(sorted(range(len(items)), key=lambda index: (items[index].key, items[index].caption, index)))

    @cached_property
    def content_places(self) -> tuple[int, ...]:
        """Where each item stands in `content_order`."""
        places = [0] * len(self.items)
        for place, index in enumerate(self.content_order):
            places[index] = place
        return tuple(places)

    def captions_in_order(self, variant: int = 0) -> tuple[str, ...]:
        """Return every caption after the chain, in `content_order`; remembered, once where variants do not differ."""
        kept: dict[int, tuple[str, ...]] = self._captions
        variant = variant if self.varies else 0
        if variant not in kept:
            kept[variant] = tuple(self.caption(index, variant) for index in self.content_order)
        return kept[variant]

    def memory(self, variant: int = 0) -> dict[Any, Any]:
        """Return a place for what the next step works out once for all samples of a variant; it goes with the dataset.

        Whoever writes into it names what the result depends on besides this dataset and the variant.
        """
        memories: dict[int, dict[Any, Any]] = self._memories
        return memories.setdefault(variant, {})

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything that decides the samples: contents, captions, repeats, backgrounds, steps."""
        items = [[item.key, item.caption, item.repeats, list(item.background), *item.origin] for item in self.items]
        text = json.dumps({"items": items, "steps": [step.describe() for step in self.steps]}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def chain_key(self) -> str:
        """SHA-256 (hex) of the steps and, when one of them looks at other samples, of all items' keys but not order."""
        company = sorted(item.key for item in self.items) if self.gathers else []
        text = json.dumps([[step.describe() for step in self.steps], company], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def company_key(self) -> str:
        """SHA-256 (hex) of everything but order that decides what the steps see of other samples, "" for nothing."""
        if not self.gathers:
            return ""
        seen = [json.dumps([item.key, item.caption, list(item.background), *item.origin]) for item in self.items]
        return hashlib.sha256("\n".join(sorted(seen)).encode()).hexdigest()

    @cached_property
    def gathers(self) -> bool:
        """True when a step looks at other samples."""
        return any(getattr(step, "gathers", False) for step in self.steps)

    @cached_property
    def varies(self) -> bool:
        """True when variants of an item can come out differently."""
        return any(step.varies for step in self.steps) or any(item.varies for item in self.items)

    @cached_property
    def entries(self) -> tuple[int, ...]:
        """Item indices of one pass, each repeated as often as the item counts."""
        return tuple(index for index, item in enumerate(self.items) for _ in range(item.repeats))

    @property
    def trigger(self) -> str:
        """The word of the last trigger step of the first picture that has one, or "" when there is none."""
        for item in self.items:
            words = [step.word for step in (*item.steps, *self.steps) if isinstance(step, TriggerWord)]
            if words:
                return words[-1]
        return ""

    def report(self) -> str:
        """Return what a person wants to know: counts, sizes, buckets, captions, warnings; several lines of text."""
        from .report import describe_dataset

        return describe_dataset(self)

    def require_items(self) -> "Dataset":
        """Return self, or raise ValueError when there is nothing in it."""
        if self.items:
            return self
        raise ValueError(
            "dataset: got no pictures, allowed is one or more, load a folder, select others or hold out a larger part"
        )

    @cached_property
    def _captions(self) -> dict[int, tuple[str, ...]]:
        return {}

    @cached_property
    def _memories(self) -> dict[int, dict[Any, Any]]:
        return {}

    @cached_property
    def _starts(self) -> dict[int, "Dataset"]:
        return {}

    def _start(self, position: int) -> "Dataset":
        """Return this dataset with the steps before one; the same object each time, as it remembers its captions."""
        if position not in self._starts:
            start = replace(self, steps=self.steps[:position])
            # Its own starts are ours; else each step would work out all before it anew, twice as often as the last.
            vars(start)["_starts"] = self._starts
            self._starts[position] = start
        return self._starts[position]

    def _applied(self, step: Step, position: int, sample: Sample, index: int, variant: int) -> Sample:
        stream = self._stream(position, index, variant)
        if not getattr(step, "gathers", False):
            return step.apply(sample, stream)
        return step.apply(sample, stream, Company(self._start(position), index, variant))  # type: ignore[call-arg]

    def _stream(self, position: int, index: int, variant: int) -> np.random.Generator:
        step = self.steps[position]
        twins = twins_among(self.steps[:position], step.name, step.seed)
        again = (twins,) if twins else ()
        return generator(step.seed, step.name, self.items[index].key, variant if step.varies else 0, *again)


_NO_PICTURE = Image.new("RGB", (8, 8))
