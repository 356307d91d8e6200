"""Which size a picture is framed to, and how it gets there. Sizes are (width, height) in pixels."""

from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import Any, ClassVar, Literal, NamedTuple, get_args

Size = tuple[int, int]
Reach = Literal["cover-crop", "stretch", "contain-pad"]

_STEP = 8  # every latent space we train in is 8 times smaller, or divides what is


class Plan(NamedTuple):
    """Resize to `resized`, then crop (or pad) to `target`."""

    resized: Size
    target: Size


@dataclass(frozen=True)
class BucketFit:
    """Aspect-ratio buckets: every picture gets the bucket whose aspect ratio is closest, and covers it.

    The buckets are all (width, height) in steps of `step` with sides from `min_side` to `max_side` and the largest
    area not above resolution squared, as kohya's trainers make them; "closest" is the smallest difference of
    width / height, and of equals the narrower bucket. no_upscale: no buckets; pictures are never enlarged, shrunk only
    to the area, and cropped to multiples of `step`.
    """

    resolution: int = 512
    step: int = 64
    min_side: int = 256
    max_side: int = 2048
    no_upscale: bool = False

    mode: ClassVar[str] = "buckets"

    def __post_init__(self) -> None:
        _check_multiple("bucket step", self.step)
        _check_side("resolution", self.resolution)
        if not self.step <= self.min_side <= self.max_side:
            raise ValueError(
                f"min_side, max_side: got {self.min_side} and {self.max_side}, allowed {self.step} <= min_side <= "
                "max_side, change them"
            )

    def plan(self, size: Size, limit: int = 0) -> Plan:
        """Return the bucket and the size that covers it; `limit` (pixels, 0 for none) lowers the area."""
        area = min(self.resolution**2, limit or self.resolution**2)
        if self.no_upscale:
            return _kept_aspect(size, area, self.step)
        target = closest(size, bucket_sizes(area, self.step, self.min_side, self.max_side))
        return Plan(_covering(size, target), target)


@dataclass(frozen=True)
class FixedFit:
    """One size for all: crop what is too much, stretch, or pad what is missing."""

    width: int = 512
    height: int = 512
    reach: Reach = "cover-crop"

    mode: ClassVar[str] = "fixed size"

    def __post_init__(self) -> None:
        check_choice("fit", self.reach, Reach)
        for name in ("width", "height"):
            _check_side(name, getattr(self, name))
            _check_multiple(name, getattr(self, name))

    def plan(self, size: Size, limit: int = 0) -> Plan:
        """Return the size, lowered to at most `limit` pixels in its own aspect ratio."""
        target = _within((self.width, self.height), limit)
        if self.reach == "stretch":
            return Plan(target, target)
        if self.reach == "contain-pad":
            return Plan(_contained(size, target), target)
        return Plan(_covering(size, target), target)


@dataclass(frozen=True)
class NativeFit:
    """The picture's own size and aspect ratio; each side is cropped down to a multiple of `stride`.

    max_side: longer pictures are shrunk to it first; 0 sets no limit. Sides below `stride` are enlarged to it.
    """

    stride: int = 64
    max_side: int = 0

    mode: ClassVar[str] = "native"

    def __post_init__(self) -> None:
        _check_multiple("stride", self.stride)
        if self.max_side and self.max_side < self.stride:
            raise ValueError(
                f"max_side: got {self.max_side}, allowed 0 or {self.stride} (the stride) and more, raise it"
            )

    def plan(self, size: Size, limit: int = 0) -> Plan:
        """Return the picture's size within `max_side` and `limit` pixels, and its multiple of the stride."""
        scale = min(1.0, self.max_side / max(size)) if self.max_side else 1.0
        area = int(size[0] * size[1] * scale * scale + 0.5)
        return _kept_aspect(size, min(area, limit or area), self.stride)


@dataclass(frozen=True)
class PairFit:
    """One portrait and one landscape size, chosen by the picture's orientation; squares count as portrait."""

    short_side: int = 832
    long_side: int = 1216

    mode: ClassVar[str] = "portrait/landscape pair"

    def __post_init__(self) -> None:
        for name in ("short_side", "long_side"):
            _check_side(name, getattr(self, name))
            _check_multiple(name, getattr(self, name))

    def plan(self, size: Size, limit: int = 0) -> Plan:
        """Return the size of the picture's orientation, lowered to at most `limit` pixels."""
        short, long = sorted((self.short_side, self.long_side))
        target = _within((long, short) if size[0] > size[1] else (short, long), limit)
        return Plan(_covering(size, target), target)


@cache
def bucket_sizes(area: int, step: int, min_side: int, max_side: int) -> tuple[Size, ...]:
    """Return every bucket, sorted; the square of the area is always among them, whatever the side limits."""
    square = max(step, int(sqrt(area)) // step * step)
    sizes = {(square, square)}
    for width in range(-(-min_side // step) * step, max_side + 1, step):
        height = min(max_side // step * step, area // width // step * step)
        if height >= min_side:
            sizes |= {(width, height), (height, width)}
    return tuple(sorted(sizes))


def closest(size: Size, sizes: tuple[Size, ...]) -> Size:
    """Return the member of `sizes` whose width / height differs least from that of `size`."""
    aspect = size[0] / size[1]
    return min(sizes, key=lambda candidate: abs(candidate[0] / candidate[1] - aspect))


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise ValueError when `value` is none of a Literal's values."""
    if value not in get_args(choices):
        raise ValueError(f"{name}: got {value!r}, allowed {list(get_args(choices))}, choose one of them")


def _check_side(name: str, value: int) -> None:
    if not 64 <= value <= 16384:
        raise ValueError(f"{name}: got {value}, allowed 64 to 16384 pixels, change it")


def _check_multiple(name: str, value: int) -> None:
    if value < _STEP or value % _STEP:
        raise ValueError(
            f"{name}: got {value}, allowed multiples of {_STEP}, take {max(_STEP, value // _STEP * _STEP)}"
        )


def _scaled(size: Size, scale: float) -> Size:
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def _floored(size: Size, step: int) -> Size:
    return max(step, size[0] // step * step), max(step, size[1] // step * step)


def _covering(size: Size, target: Size) -> Size:
    """Return the smallest size of the same aspect ratio that covers `target`."""
    scaled = _scaled(size, max(target[0] / size[0], target[1] / size[1]))
    return max(scaled[0], target[0]), max(scaled[1], target[1])


def _contained(size: Size, target: Size) -> Size:
    scaled = _scaled(size, min(target[0] / size[0], target[1] / size[1]))
    return min(scaled[0], target[0]), min(scaled[1], target[1])


def _within(size: Size, limit: int) -> Size:
    """Return `size` in its aspect ratio with an area of at most `limit` (0 for none), in multiples of 8."""
    if not limit or size[0] * size[1] <= limit:
        return size
    scale = sqrt(limit / (size[0] * size[1]))
    return _floored((int(size[0] * scale), int(size[1] * scale)), _STEP)


def _kept_aspect(size: Size, area: int, step: int) -> Plan:
    """Shrink to `area` if larger, then crop to multiples of `step`; enlarge only a side shorter than one step."""
    resized = _scaled(size, min(1.0, sqrt(area / (size[0] * size[1]))))
    target = _floored(resized, step)
    return Plan(_covering(size, target) if min(resized) < step else resized, target)
