"""One picture with its caption, on its way through the chain of steps."""

from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Sample:
    """What a step receives and returns.

    image: 8-bit RGB. Steps never change it in place.
    caption: data, never prompt syntax.
    triggers: the trigger words that steps put into the caption, in order (partial caption dropout keeps them).
    original_size: (width, height) in pixels of the picture as loaded, after EXIF rotation.
    crop: (left, top) in pixels of the framed image that cropping removed (SDXL's size conditioning).
    """

    image: Image.Image
    caption: str
    original_size: tuple[int, int]
    triggers: tuple[str, ...] = ()
    crop: tuple[int, int] = (0, 0)

    def with_image(self, image: Image.Image, **changes: Any) -> "Sample":
        """Return a copy with another picture (and any other changed fields)."""
        return replace(self, image=image, **changes)

    def with_caption(self, caption: str, **changes: Any) -> "Sample":
        """Return a copy with another caption (and any other changed fields)."""
        return replace(self, caption=caption, **changes)


class Step(Protocol):
    """A link of the chain: a frozen dataclass that changes one sample at a time.

    name: stable identifier, part of the fingerprint and of the random stream.
    seed: the step's own seed; the generator given to `apply` depends on (seed, name, item key, variant).
    touches: what the step reads or changes; captions alone can then be computed without decoding a picture.
    kind: "framing", "caption" or "corruption".
    varies: True when another variant of the same item can come out differently.
    """

    @property
    def name(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def touches(self) -> Literal["image", "caption", "both"]: ...
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
