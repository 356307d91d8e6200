"""How different the pictures of a set are from each other."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .planes import Picture
from .registry import metric
from .texture import features

_LIKE = 0.5  # feature distance at which two pictures are about half alike


@metric("Distinct pictures", "pictures", "set")
def vendi_score(pictures: Sequence[Picture]) -> float:
    """Effective number of different pictures: 1 when all look alike, their number when none does.

    The Vendi score (Friedman and Dieng 2023) with a Gaussian kernel of `texture.features`. No picture gives 0.
    """
    return vendi(kernel(pictures)) if pictures else 0.0


@metric("Mean difference", kind="set")
def mean_difference(pictures: Sequence[Picture]) -> float:
    """Mean feature distance over all pairs; 0 for fewer than two pictures."""
    apart = _distances(pictures)
    return float(apart[np.triu_indices(len(apart), 1)].mean()) if len(pictures) > 1 else 0.0


def vendi(likeness: NDArray[np.float64]) -> float:
    """Return exp of the entropy of the eigenvalues of K / n, for a symmetric K [n, n] with 1 on its diagonal."""
    values = np.linalg.eigvalsh(likeness / len(likeness))
    values = values[values > 1e-12]
    return float(np.exp(-np.sum(values * np.log(values))))


def kernel(pictures: Sequence[Picture]) -> NDArray[np.float64]:
    """Return how alike each two pictures are, 0 to 1 [n, n]."""
    return np.exp(-0.5 * (_distances(pictures) / _LIKE) ** 2)


def _distances(pictures: Sequence[Picture]) -> NDArray[np.float64]:
    vectors = np.array([features(picture) for picture in pictures])
    return np.array([np.sqrt(np.mean((vectors - one) ** 2, axis=1)) for one in vectors])
