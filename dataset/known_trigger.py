"""Trigger words that captions have already: a saved dataset still knows them."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from .captions import TriggerWord, contains_word
from .dataset import Dataset
from .sample import Sample


@dataclass(frozen=True)
class KnownTrigger(TriggerWord):
    """A step that counts a word among the triggers of captions that have it, and changes no caption."""

    name: ClassVar[str] = "known_trigger"

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample, with the word among its triggers if its caption has it."""
        if not contains_word(sample.caption, self.word):
            return sample
        return sample.with_caption(sample.caption, triggers=(*sample.triggers, self.word))

    def placed_in(self, caption: str) -> str:
        """Return `caption` as it is."""
        return caption

    def describe(self) -> dict[str, str]:
        """Return the step as JSON."""
        return {"name": self.name, "word": self.word}


def knowing_triggers(saved: Dataset, of: Dataset) -> Dataset:
    """Return `saved` with a step for each trigger word that steps put into captions of the dataset `of`."""
    chains = dict.fromkeys((*item.steps, *of.steps) for item in of.items)
    words = dict.fromkeys(step.word for chain in chains for step in chain if isinstance(step, TriggerWord))
    # The last one is taken for the dataset's own.
    ordered = sorted(words, key=lambda word: word == of.trigger)
    return replace(saved, steps=(*saved.steps, *map(KnownTrigger, ordered)))
