"""Steps that wait until a sample is encoded, and a dataset in which they leave no trace: what a file can hold."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from .dataset import Dataset, Item
from .derived import Derived
from .sample import Sample, Step, Touches

WAITING: tuple[Touches, ...] = ("latent", "conditioning", "size")


@dataclass(frozen=True)
class Silent:
    """A step in another's place that does nothing, so that all the others draw what they drew beside it."""

    step: Step

    varies: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The step's name, which later steps of the same name count."""
        return self.step.name

    @property
    def seed(self) -> int:
        """The step's seed."""
        return self.step.seed

    @property
    def touches(self) -> Touches:
        """What the step would touch."""
        return self.step.touches

    @property
    def kind(self) -> Literal["framing", "caption", "corruption"]:
        """The step's kind."""
        return self.step.kind

    @property
    def gathers(self) -> bool:
        """The same as of the step: it is part of the items' keys."""
        return bool(getattr(self.step, "gathers", False))

    def apply(self, sample: Sample, rng: np.random.Generator, company: Any = None) -> Sample:
        """Return the sample as it is, without a word of damage."""
        return sample

    def describe(self) -> dict[str, Any]:
        """Return the step as JSON."""
        return self.step.describe()


def without_waiting(dataset: Dataset) -> Dataset:
    """Return the dataset as a file can hold it: steps in `WAITING` damage nothing and are not named by captions.

    Everything else comes out as before: no other step draws anything new.
    """
    return _silenced(dataset, {})


def waiting_steps(dataset: Dataset) -> dict[str, int]:
    """Return the names of the steps that wait, and how many pictures went through each."""
    counts: dict[str, int] = {}
    for item in dataset.items:
        for name in dict.fromkeys(step.name for step in (*item.steps, *dataset.steps) if step.touches in WAITING):
            counts[name] = counts.get(name, 0) + 1
    return counts


def _silenced(dataset: Dataset, known: dict[int, Dataset]) -> Dataset:
    # Items of one dataset stay items of one: it remembers what they have in common.
    if id(dataset) not in known:
        steps = tuple(Silent(step) if step.touches in WAITING else step for step in dataset.steps)
        items = tuple(_without(item, known) for item in dataset.items)
        known[id(dataset)] = replace(dataset, items=items, steps=steps)
    return known[id(dataset)]


def _without(item: Item | Derived, known: dict[int, Dataset]) -> Item | Derived:
    return replace(item, dataset=_silenced(item.dataset, known)) if isinstance(item, Derived) else item
