"""Pictures that are there more than once: the same file, or the same picture scaled, saved again or mirrored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..metrics.copies import COPY
from ..metrics.planes import luma
from .audit_facts import Facts

_ALIKE = 0.9  # correlation of the thumbnails
_ROWS = 1024


@dataclass(frozen=True)
class Copy:
    """A picture that is there already. index, of: places of it and of the one kept. bits: distance of the hashes."""

    index: int
    of: int
    exact: bool
    mirrored: bool
    bits: int


def copies(keys: Sequence[str], facts: Sequence[Facts | None], rank: Callable[[int], tuple]) -> list[Copy]:
    """Return every picture that is there already, the best of each group left out.

    keys: of the files' bytes; facts: None for what could not be read. rank: larger is better, of an index. Near copies
    have perceptual hashes that differ in at most 10 of 64 bits, as they are or one mirrored, and thumbnails that
    correlate; copies of copies are one group.
    """
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    exact = [(first[key], index) for index, key in enumerate(keys) if first[key] != index]
    near = _near(sorted(index for index in first.values() if facts[index] is not None), facts)
    found = []
    for group in _groups(len(keys), [*exact, *near]):
        best = max(group, key=rank)
        found += [_copy(index, best, keys, facts) for index in group if index != best]
    return sorted(found, key=lambda copy: copy.index)


def _copy(index: int, best: int, keys: Sequence[str], facts: Sequence[Facts | None]) -> Copy:
    one, other = facts[index], facts[best]
    if keys[index] == keys[best] or one is None or other is None:
        return Copy(index, best, True, False, 0)
    straight, mirrored = (int(np.count_nonzero(one.hashes[0] != hashed)) for hashed in other.hashes)
    return Copy(index, best, False, mirrored < straight, min(straight, mirrored))


def _near(indices: list[int], facts: Sequence[Facts | None]) -> list[tuple[int, int]]:
    """Return the pairs of near copies among `indices`."""
    known = [fact for index in indices if (fact := facts[index]) is not None]
    if len(known) < 2:
        return []
    # Bits as +1 and -1: the product of two hashes is 64 less twice the bits that differ.
    straight, mirrored = (np.array([fact.hashes[way] for fact in known], np.float32) * 2 - 1 for way in (0, 1))
    pairs = []
    for start in range(0, len(known), _ROWS):
        rows = straight[start : start + _ROWS]
        for others, flip in ((straight, False), (mirrored, True)):
            near = np.argwhere(rows @ others.T >= 64 - 2 * COPY)
            pairs += [
                (indices[start + one], indices[two])
                for one, two in near.tolist()
                if start + one < two and _alike(known[start + one], known[two], flip)
            ]
    return pairs


def _alike(one: Facts, other: Facts, mirrored: bool) -> bool:
    first, second = _pattern(one), _pattern(other)
    return float((first * (second[:, ::-1] if mirrored else second)).mean()) > _ALIKE


def _pattern(facts: Facts) -> NDArray[np.float32]:
    """Return the thumbnail's luma with mean 0 and deviation 1; zeros for a blank one, which is like no other."""
    plane = luma(facts.thumb)
    spread = float(plane.std())
    return (plane - plane.mean()) / spread if spread > 2 else np.zeros_like(plane)


def _groups(count: int, pairs: list[tuple[int, int]]) -> list[list[int]]:
    """Return the sets of two or more indices that pairs connect."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not pairs:
        return []
    rows, columns = np.array(pairs).T
    _, labels = connected_components(coo_array((np.ones(len(pairs)), (rows, columns)), (count, count)), directed=False)
    order = np.argsort(labels, kind="stable")
    edges = np.flatnonzero(np.diff(labels[order])) + 1
    return [group.tolist() for group in np.split(order, edges) if len(group) > 1]
