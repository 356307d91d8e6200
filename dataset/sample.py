"""One picture with its caption, on its way through the chain of steps."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image

Touches = Literal["image", "caption", "both", "size", "latent", "conditioning"]


@dataclass(frozen=True)
class Sample:
    """What a step receives and returns.

    image: 8-bit RGB. Steps never change it in place.
    caption: data, never prompt syntax.
    triggers: the trigger words that steps put into the caption, in order (partial caption dropout keeps them).
    original_size: (width, height) in pixels of the picture as loaded, after EXIF rotation.
    crop: (left, top) in pixels of the framed image that cropping removed (SDXL's size conditioning).
    damage: (operation, severity 0..1) of the corruptions that the picture really went through, in order.
    key: SHA-256 (hex) of the file that the picture comes from, "" when it is none.
    """

    image: Image.Image
    caption: str
    original_size: tuple[int, int]
    triggers: tuple[str, ...] = ()
    crop: tuple[int, int] = (0, 0)
    damage: tuple[tuple[str, float], ...] = ()
    key: str = ""

    def with_image(self, image: Image.Image, **changes: Any) -> "Sample":
        """Return a copy with another picture (and any other changed fields)."""
        return replace(self, image=image, **changes)

    def with_caption(self, caption: str, **changes: Any) -> "Sample":
        """Return a copy with another caption (and any other changed fields)."""
        return replace(self, caption=caption, **changes)

    def with_damage(self, name: str, severity: float) -> "Sample":
        """Return a copy with one more corruption written down."""
        return replace(self, damage=(*self.damage, (name, severity)))


class Step(Protocol):
    """A link of the chain: a frozen dataclass that changes one sample at a time.

    name: stable identifier, part of the fingerprint and of the random stream.
    seed: the step's own seed; the generator given to `apply` depends on (seed, name, item key, variant).
    touches: what the step reads or changes; captions alone can then be computed without decoding a picture, and latents
    and conditioning wait until the sample is encoded. "size": `original_size` and `crop`.
    kind: "framing", "caption" or "corruption".
    varies: True when another variant of the same item can come out differently.
    gathers (optional): True when `apply` takes a third argument, the `Company` of the sample.
    mark (optional): writes down what `apply` would do to a picture without one.
    """

    @property
    def name(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def touches(self) -> Touches: ...
    @property
    def kind(self) -> Literal["framing", "caption", "corruption"]: ...
    @property
    def varies(self) -> bool: ...

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the changed sample; `rng` is this item's own stream."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return the step as JSON (name, seed and every parameter): goes into fingerprints and manifests."""
        ...


def twins_among(steps: Iterable[Step], name: str, seed: int) -> int:
    """Return how many steps have this name and seed: a later one must not repeat the choices of an earlier."""
    return sum((step.name, step.seed) == (name, seed) for step in steps)
