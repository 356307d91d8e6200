"""A corruption as a link in a chain of samples."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self, get_args

import numpy as np
from PIL import Image

from .registry import Operation, Value, codec_versions, find_operation

Damage = Literal["frozen", "new for each variant"]


class Picture(Protocol):
    """Whatever carries an image through the chain."""

    @property
    def image(self) -> Image.Image: ...

    def with_image(self, image: Image.Image) -> Self: ...


@dataclass(frozen=True)
class Corruption:
    """A step that damages pictures, each with its own random stream.

    operation: its name. parameters: (name, value) pairs, sorted; `corruption` makes them from a dict.
    severity: 0 (untouched) to 1. fraction: the probability, 0..1, that a picture is damaged at all.
    damage: "frozen" gives an item the same damage every time, "new for each variant" draws it again.
    """

    operation: str
    parameters: tuple[tuple[str, Value], ...] = ()
    severity: float = 1.0
    fraction: float = 1.0
    damage: Damage = "frozen"
    seed: int = 0

    touches: ClassVar[Literal["image"]] = "image"
    kind: ClassVar[Literal["corruption"]] = "corruption"

    def __post_init__(self) -> None:
        self._operation.checked(dict(self.parameters))
        for name in ("severity", "fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed 0 to 1, change it")
        if self.damage not in get_args(Damage):
            raise ValueError(f"damage: got {self.damage!r}, allowed {list(get_args(Damage))}, choose one of them")

    @property
    def name(self) -> str:
        """The operation's name."""
        return self.operation

    @property
    def varies(self) -> bool:
        """True when something is drawn again for another variant."""
        return self.damage != "frozen" and self.severity > 0 and (self._operation.draws or 0 < self.fraction < 1)

    def apply(self, sample: Picture, rng: np.random.Generator) -> Any:
        """Return the sample with a damaged picture, or unchanged when the draw spares it."""
        if rng.random() >= self.fraction:
            return sample
        return sample.with_image(self._operation.apply(sample.image, rng, self.severity, **dict(self.parameters)))

    def describe(self) -> dict[str, Any]:
        """Return the step as JSON, with the versions of the codecs that decide its bits."""
        operation = self._operation
        return {
            "name": self.operation,
            "version": operation.version,
            "parameters": operation.checked(dict(self.parameters)),
            "severity": self.severity,
            "fraction": self.fraction,
            "damage": self.damage,
            "seed": self.seed,
            "codecs": codec_versions(operation.codecs),
        }

    @property
    def _operation(self) -> Operation:
        return find_operation(self.operation)


def corruption(operation: str, parameters: dict[str, Value] | None = None, **settings: Any) -> Corruption:
    """Return a checked `Corruption`; missing parameters take their defaults. Raises ValueError."""
    values = find_operation(operation).checked(parameters or {})
    return Corruption(operation, tuple(sorted(values.items())), **settings)
