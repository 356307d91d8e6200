"""Axes: from values to places on a picture, and where the ticks go."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_WANTED = 6


@dataclass(frozen=True)
class Scale:
    """An axis from `low` at place `start` to `high` at place `end` (pixels; end may be the smaller).

    whole: ticks only at whole numbers.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool
    whole: bool = False

    def place(self, value: float) -> float:
        """Return the pixel of a value; values outside the axis go to its end."""
        low, high, at = (self._axis(number) for number in (self.low, self.high, min(max(value, self.low), self.high)))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Return (value, label) of about five round values within the axis."""
        values = _log_ticks(self.low, self.high) if self.logarithmic else _linear_ticks(self.low, self.high)
        if self.whole:
            values = [value for value in values if value == round(value)]
        return [(value, f"{value:g}" if self.logarithmic else _label(value, values)) for value in values]

    def _axis(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def scale_for(
    values: Sequence[float], logarithmic: bool, start: float, end: float, highest: float = 0.0, whole: bool = False
) -> Scale:
    """Return the axis that holds all values, or ends at `highest` if that is above 0.

    Linear axes of positive values that come near zero begin at zero. A single value gets room around it.
    """
    low, high = min(values), highest or max(values)
    low = min(low, high)
    if logarithmic:
        room = max((math.log10(high) - math.log10(low)) * 0.04, 0.02)
        return Scale(low / 10**room, highest or high * 10**room, start, end, True, whole)
    if 0 <= low <= (high - low) * 0.5:
        low = 0.0
    room = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return Scale(low if low == 0.0 and high > 0 else low - room, highest or high + room, start, end, False, whole)


def _linear_ticks(low: float, high: float) -> list[float]:
    step = _round_step((high - low) / _WANTED)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # A tick may be an end of the axis but for rounding; it must not lie outside.
    return [min(max(number * step, low), high) for number in range(first, last + 1)]


def _round_step(step: float) -> float:
    """Return the next larger of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= step * (1 - 1e-9))


def _log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten, with their doubles and fives where there are few; linear ticks within one decade."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0)):
        found = [factor * 10.0**power for power in powers for factor in factors]
        inside = [value for value in found if low <= value <= high]
        if len(inside) >= 3:
            return inside[:: max(1, math.ceil(len(inside) / (2 * _WANTED)))]
    return [value for value in _linear_ticks(low, high) if value > 0]


def _label(value: float, among: Sequence[float]) -> str:
    """Return a number with as many digits as its neighbours need to differ."""
    largest = max(abs(other) for other in among)
    if value == 0:
        return "0"
    if largest >= 1e6 or largest < 1e-3:
        return f"{value:.3g}"
    gaps = [abs(b - a) for a, b in zip(among, among[1:], strict=False) if b != a]
    digits = max(0, -math.floor(math.log10(min(gaps or [abs(value)])) + 1e-9))
    return f"{value:.{min(digits, 8)}f}"
