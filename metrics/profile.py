"""The glitch profile: in which ways, and how often, pictures are unlike a reference set.

There is no number for how glitchy a picture is, only for how far, and in what, it is from pictures of a kind.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .planes import Picture
from .registry import all_metrics, measure

PATCH = 32
_CLIP = 10.0
# Scale of a normal distribution with the same median absolute deviation.
_NORMAL = 1.4826


@dataclass(frozen=True)
class Profile:
    """How pictures differ from the reference set. scores: metric -> robust z-score of the median picture.

    overall: root mean square of the scores, each clipped to 10.
    """

    scores: dict[str, float]
    overall: float


@dataclass(frozen=True)
class Frequency:
    """How often artefacts occur. pictures, patches: share 0..1 in which any detector answered; by: for each detector,
    the share of the pictures.
    """

    pictures: float
    patches: float
    by: dict[str, float]


@dataclass(frozen=True)
class Reference:
    """What metrics give on a reference set. values: metric -> value on each picture."""

    values: dict[str, tuple[float, ...]]

    @classmethod
    def of(cls, pictures: Sequence[Picture], names: Iterable[str] | None = None) -> "Reference":
        """Measure a reference set, with all single-picture metrics or those named. Raises ValueError when empty."""
        if not pictures:
            raise ValueError("reference: got no picture, allowed at least one, give pictures to compare with")
        chosen = None if names is None else list(names)
        rows = [measure(picture, chosen) for picture in pictures]
        return cls({name: tuple(row[name] for row in rows) for name in rows[0]})

    def score(self, name: str, value: float) -> float:
        """Return the robust z-score of a value: how many spreads it is above the median.

        The spread is the scaled median absolute deviation, no less than a quarter of the standard deviation, 2 % of
        the median and 0.001: a metric that is nearly the same on most of the reference would answer to nothing.
        """
        known = np.array(self.values[name])
        median = float(np.median(known))
        deviation = _NORMAL * float(np.median(np.abs(known - median)))
        spread = max(deviation, 0.25 * float(known.std()), 0.02 * abs(median), 1e-3)
        return (value - median) / spread

    def profile(self, pictures: Sequence[Picture]) -> Profile:
        """Return the profile of a set of pictures. Raises ValueError when it is empty."""
        if not pictures:
            raise ValueError("pictures: got none, allowed at least one, give pictures to measure")
        rows = [measure(picture, self.values) for picture in pictures]
        scores = {name: self.score(name, float(np.median([row[name] for row in rows]))) for name in self.values}
        clipped = np.clip(list(scores.values()), -_CLIP, _CLIP)
        return Profile(scores, float(np.sqrt(np.mean(clipped**2))))


class ArtefactCounter:
    """Counts artefacts: detectors that exceed what they give on all but a hundredth of a reference set.

    The hundredth is shared among the detectors (Bonferroni), so that of clean pictures like the reference, no more
    than one in a hundred is counted. Beyond what the reference resolves, the bar is its largest value and one spread
    more. Detectors look at whole pictures and at patches of 32 pixels.
    """

    def __init__(self, reference: Sequence[Picture], names: Iterable[str] | None = None) -> None:
        """names: detectors, all when None. Raises ValueError when the reference is empty."""
        self._names = list(names) if names is not None else [one.name for one in all_metrics("single") if one.detector]
        self._whole = self._bars(reference)
        self._parts = self._bars([patch for picture in reference for patch in patches(picture)])

    def count(self, pictures: Sequence[Picture]) -> Frequency:
        """Return how often artefacts occur. Raises ValueError when there are no pictures."""
        if not pictures:
            raise ValueError("pictures: got none, allowed at least one, give pictures to measure")
        found = [self._over(picture, self._whole) for picture in pictures]
        parts = [bool(self._over(patch, self._parts)) for picture in pictures for patch in patches(picture)]
        by = {name: float(np.mean([name in over for over in found])) for name in self._names}
        return Frequency(float(np.mean([bool(over) for over in found])), float(np.mean(parts)), by)

    def _bars(self, pictures: Sequence[Picture]) -> dict[str, float]:
        reference = Reference.of(pictures, self._names)
        return {name: self._bar(np.array(values)) for name, values in reference.values.items()}

    def _bar(self, values: np.ndarray) -> float:
        chance = 0.01 / len(self._names)
        spread = _NORMAL * float(np.median(np.abs(values - np.median(values))))
        if len(values) * chance >= 1:
            return float(np.quantile(values, 1 - chance))
        return float(values.max()) + max(spread, 0.02 * abs(float(values.max())), 1e-3)

    def _over(self, picture: Picture, bars: dict[str, float]) -> set[str]:
        values = measure(picture, self._names)
        return {name for name, value in values.items() if value > bars[name]}


def patches(picture: Picture, side: int = PATCH) -> list[Picture]:
    """Return the whole patches of a picture, row by row; the picture itself when it is smaller than one."""
    height, width = picture.shape[:2]
    if min(height, width) < side:
        return [picture]
    tops, lefts = (range(0, length - side + 1, side) for length in (height, width))
    return [picture[top : top + side, left : left + side] for top in tops for left in lefts]
