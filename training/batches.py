"""Which items go through the network when, as a function of the seed alone."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..dataset.seeds import generator


@dataclass(frozen=True)
class Draw:
    """One place in a batch: which item, and which of its pre-encoded variants."""

    item: int
    variant: int


@dataclass(frozen=True)
class BatchOrder:
    """The endless order of batches. Every epoch passes over all entries once, in an order of its own.

    entries: item index of each entry, repeats included. groups: per item, what batch mates must share (the latent's
    shape). variants: number of pre-encoded variants per item. An epoch's last batch of a group may be smaller, so
    that nothing is dropped or shown twice.
    """

    entries: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    variants: tuple[int, ...]
    batch_size: int
    seed: int

    @property
    def per_epoch(self) -> int:
        """Number of batches in an epoch; the same in every epoch."""
        counts = Counter(self.groups[item] for item in self.entries)
        return sum(-(-count // self.batch_size) for count in counts.values())

    def largest(self) -> tuple[Draw, ...]:
        """Return the batch that needs most memory: most latent values over all its places, as large as batches get."""
        counts = Counter(self.groups[item] for item in self.entries)
        sizes = {group: min(count, self.batch_size) for group, count in counts.items()}
        group = max(sizes, key=lambda group: (math.prod(group) * sizes[group], group))
        item = next(item for item in self.entries if self.groups[item] == group)
        return (Draw(item, 0),) * sizes[group]

    def epoch(self, epoch: int) -> list[tuple[Draw, ...]]:
        """Return the batches of one epoch: entries shuffled, gathered by group, the batches shuffled again."""
        random = generator(self.seed, "order", epoch)
        gathered: dict[tuple[int, ...], list[Draw]] = {}
        for place in random.permutation(len(self.entries)):
            item = self.entries[place]
            draw = Draw(item, int(random.integers(self.variants[item])))
            gathered.setdefault(self.groups[item], []).append(draw)
        batches = [tuple(batch) for draws in gathered.values() for batch in _chunks(draws, self.batch_size)]
        return [batches[place] for place in random.permutation(len(batches))]


class BatchReader:
    """Random access to a `BatchOrder` that remembers the epoch it is in."""

    def __init__(self, order: BatchOrder) -> None:
        self._order = order
        self._epoch = -1
        self._batches: list[tuple[Draw, ...]] = []

    def __getitem__(self, index: int) -> tuple[Draw, ...]:
        """Return the batch number `index`, counted from the start of the training."""
        epoch, place = divmod(index, self._order.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._order.epoch(epoch)
        return self._batches[place]


def _chunks(draws: Sequence[Draw], size: int) -> list[Sequence[Draw]]:
    return [draws[start : start + size] for start in range(0, len(draws), size)]
