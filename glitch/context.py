"""What a corruption may know besides the one thing it corrupts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


def _no_stream() -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(0))


@dataclass(frozen=True)
class Context:
    """The company of an item: all of its dataset, itself included, in an order that depends on content alone.

    others: what the operation corrupts, of every item: pictures, captions, latents or conditionings; read only when
    asked for; empty when there is no dataset. place: which of `others` is the item itself. shared: gives a new
    generator at each call that is the same for every item, for choices the whole dataset agrees on.
    triggers: trigger words in the item's caption. damage: (operation name, severity 0..1) of the corruptions that the
    item's picture really went through, in order. memory: what `once` has worked out, the same object for every item.
    """

    others: Sequence[Any] = ()
    place: int = 0
    shared: Callable[[], np.random.Generator] = _no_stream
    triggers: tuple[str, ...] = ()
    damage: tuple[tuple[str, float], ...] = ()
    memory: dict[str, tuple[object, Any]] = field(default_factory=dict, compare=False, repr=False)

    def strangers(self) -> list[int]:
        """Return the places of all others than the item itself."""
        return [place for place in range(len(self.others)) if place != self.place]

    def stranger(self, rng: np.random.Generator) -> Any:
        """Return one of the others, drawn by `rng`; None when the item is alone."""
        places = self.strangers()
        return self.others[places[int(rng.integers(len(places)))]] if places else None

    def once(self, name: str, make: Callable[[], Any], of: object = None) -> Any:
        """Return what `make` gives, from `others` and `shared` alone: the first item works it out for all of them.

        of: what else it depends on; under each name only the result of the last one is kept.
        """
        if name not in self.memory or self.memory[name][0] != of:
            self.memory[name] = (of, make())
        return self.memory[name][1]
