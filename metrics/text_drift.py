"""How far texts moved between two states of a text encoder."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.floating]
Numbers = NDArray[np.float64]


def directions(vectors: Vectors) -> Numbers:
    """Return the rows [n, width] at length 1; a row of zeros stays zero."""
    rows = np.asarray(vectors, np.float64)
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(length == 0, 1, length)


def movement(before: Vectors, after: Vectors) -> Numbers:
    """Return by how much the direction of each row moved, [n, width]."""
    return directions(after) - directions(before)


def drift(moved: Numbers) -> float:
    """Return the mean of 1 - cosine over the rows of a `movement`: 0 unmoved, 1 at right angles, 2 turned round.

    Computed as half the squared distance of the directions, which is exactly 0 where nothing changed.
    """
    return float((moved**2).sum(axis=-1).mean() / 2)


def common_movement(texts: Sequence[Numbers]) -> Numbers:
    """Return the movement that texts have in common: the mean over texts of the mean over each one's rows.

    With m that mean, what all moved alike is |m|^2 / 2 (its `drift`) and what a text moved besides is the drift of its
    rows less m: the first plus the mean of the second over these texts is exactly their mean drift (a mean square is
    mean and variance). Texts that are not finite do not count; [width] zeros without any.
    """
    means = [text.mean(axis=0) for text in texts]
    return _mean(np.stack(means), range(len(means))) if means else np.zeros(1)


def neighbours(vectors: Vectors, shared: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """Return for each row the numbers of the `count` other rows nearest to it by cosine, the nearest first.

    First the mean direction of the rows `shared` is taken off: outputs of a text encoder lie in a narrow cone
    (Ethayarajh 2019), in which the mean drowns the differences (Mu and Viswanath 2018, "All-but-the-Top"). So a shift
    that all have in common changes no neighbours. Rows that are not finite have none and are none's.
    """
    rows = directions(vectors)
    good = _finite(rows)
    centred = directions(rows - _mean(rows, shared))
    cosines = np.where(good, centred @ np.where(good[:, None], centred, 0).T, -np.inf)
    np.fill_diagonal(cosines, -np.inf)
    # Rounded, so that another machine's last digit does not change the order of ties.
    order = np.argsort(-np.round(cosines, 9), axis=1, kind="stable")
    return [
        tuple(int(other) for other in row if other != number and good[other])[:count] if good[number] else ()
        for number, row in enumerate(order)
    ]


def kept(before: Sequence[int], after: Sequence[int]) -> float:
    """Return the Jaccard index of two sets of neighbours: 1 the same ones, 0 none in common; 1 for two empty sets."""
    together = set(before) | set(after)
    return len(set(before) & set(after)) / len(together) if together else 1.0


def spacing(vectors: Vectors) -> float:
    """Return the median drift (1 - cosine) between two different rows: how far apart texts are to begin with."""
    rows = directions(vectors)
    pairs = np.triu_indices(len(rows), 1)
    apart = 1 - (rows @ rows.T)[pairs]
    return float(np.median(apart)) if len(apart) else 0.0


def _mean(rows: Numbers, shared: Sequence[int]) -> Numbers:
    chosen = rows[list(shared)]
    chosen = chosen[_finite(chosen)]
    return np.asarray(chosen.mean(axis=0)) if len(chosen) else np.zeros(rows.shape[1])


def _finite(rows: Numbers) -> NDArray[np.bool_]:
    return np.asarray(np.all(np.isfinite(rows), axis=1))
