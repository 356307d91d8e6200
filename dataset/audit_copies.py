"""Pictures that are there more than once: the same file, or the same picture scaled, saved again or mirrored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..metrics.copies import COPY
from ..metrics.planes import halved, luma
from .audit_facts import Facts

Pairs = NDArray[np.int64]  # [pairs, 2]: indices

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
    for group in _groups(len(keys), np.concatenate([np.array(exact, np.int64).reshape(-1, 2), near])):
        best = max(group, key=rank)
        found += [_copy(index, best, keys, facts) for index in group if index != best]
    return sorted(found, key=lambda copy: copy.index)


def _copy(index: int, best: int, keys: Sequence[str], facts: Sequence[Facts | None]) -> Copy:
    one, other = facts[index], facts[best]
    if keys[index] == keys[best] or one is None or other is None:
        return Copy(index, best, True, False, 0)
    straight, mirrored = (int(np.count_nonzero(one.hashes[0] != hashed)) for hashed in other.hashes)
    return Copy(index, best, False, mirrored < straight, min(straight, mirrored))


def _near(indices: list[int], facts: Sequence[Facts | None]) -> Pairs:
    """Return the pairs of near copies among `indices`."""
    known = [fact for index in indices if (fact := facts[index]) is not None]
    if len(known) < 2:
        return np.zeros((0, 2), np.int64)
    # Bits as +1 and -1: the product of two hashes is 64 less twice the bits that differ.
    straight, mirrored = (np.array([fact.hashes[way] for fact in known], np.float32) * 2 - 1 for way in (0, 1))
    patterns = np.array([_pattern(fact) for fact in known])
    flipped = patterns[:, :, ::-1].reshape(len(known), -1)
    patterns = patterns.reshape(len(known), -1)
    pairs = []
    for start in range(0, len(known), _ROWS):
        rows = slice(start, start + _ROWS)
        for hashes, looks in ((straight, patterns), (mirrored, flipped)):
            alike = (straight[rows] @ hashes.T >= 64 - 2 * COPY) & (patterns[rows] @ looks.T > _ALIKE)
            pairs.append(np.argwhere(np.triu(alike, start + 1)) + (start, 0))
    return np.array(indices, np.int64)[np.concatenate(pairs)]


def _pattern(facts: Facts) -> NDArray[np.float32]:
    """Return the thumbnail's luma as a vector of length 1 around 0; zeros for a blank one, which is like no other."""
    plane = halved(luma(facts.thumb))
    plane -= plane.mean()
    length = float(np.linalg.norm(plane))
    return plane / length if length > 2 * len(plane) else np.zeros_like(plane)


def _groups(count: int, pairs: Pairs) -> list[list[int]]:
    """Return the sets of two or more indices that pairs connect."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(pairs):
        return []
    rows, columns = pairs.T
    _, labels = connected_components(coo_array((np.ones(len(pairs)), (rows, columns)), (count, count)), directed=False)
    order = np.argsort(labels, kind="stable")
    edges = np.flatnonzero(np.diff(labels[order])) + 1
    return [group.tolist() for group in np.split(order, edges) if len(group) > 1]
