"""Framing: from a picture of any size to one the model is trained on."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from PIL import Image, ImageOps

from .fits import BucketFit, FixedFit, NativeFit, PairFit, Size, check_choice
from .images import Colour
from .sample import Sample

Crop = Literal["centre", "random"]
Flip = Literal["none", "always", "random"]
Resampling = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]


@dataclass(frozen=True)
class Frame:
    """A step that resizes, crops and flips.

    fit: how the size is chosen and reached. crop: which part is kept where the resized picture is larger.
    horizontal_flip, vertical_flip: mirror never, always, or half the time.
    resampling: Pillow's filter for the one resize. max_resolution: the framed area is at most its square, in pixels
    (the "resolution crush": 512 trains a large picture at 512x512 or the like); 0 sets no limit.
    pad: colour around a picture that is smaller than its frame.
    """

    fit: BucketFit | FixedFit | NativeFit | PairFit
    crop: Crop = "centre"
    horizontal_flip: Flip = "none"
    vertical_flip: Flip = "none"
    resampling: Resampling = "lanczos"
    max_resolution: int = 0
    pad: Colour = (0, 0, 0)
    seed: int = 0

    name: ClassVar[str] = "frame"
    touches: ClassVar[Literal["image"]] = "image"
    kind: ClassVar[Literal["framing"]] = "framing"

    def __post_init__(self) -> None:
        check_choice("crop", self.crop, Crop)
        check_choice("horizontal_flip", self.horizontal_flip, Flip)
        check_choice("vertical_flip", self.vertical_flip, Flip)
        check_choice("resampling", self.resampling, Resampling)
        if self.max_resolution and self.max_resolution < 64:
            raise ValueError(
                f"max_resolution: got {self.max_resolution}, allowed 0 (no limit) or 64 and more, raise it"
            )

    @property
    def varies(self) -> bool:
        """True when the crop or a flip is drawn."""
        return "random" in (self.crop, self.horizontal_flip, self.vertical_flip)

    def output_size(self, size: Size) -> Size:
        """Return the framed (width, height) of a picture of `size`; both are multiples of 8."""
        return self.fit.plan(size, self.max_resolution**2).target

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the framed sample, its `crop` set as SDXL's size conditioning counts it.

        That is (left, top) of the kept part in the resized picture, counted from the other edge after a flip.
        """
        plan = self.fit.plan(sample.image.size, self.max_resolution**2)
        draws = rng.random(4)  # drawn whatever the settings, so that turning a flip on leaves the crops alone
        resized = _resized(sample.image, plan.resized, self.resampling)
        spare = tuple(have - want for have, want in zip(plan.resized, plan.target, strict=True))
        left, top = (self._offset(room, draw) for room, draw in zip(spare, draws[:2], strict=True))
        framed = self._cut(resized, plan.target, left, top)
        if _flips(self.horizontal_flip, draws[2]):
            framed, left = ImageOps.mirror(framed), spare[0] - left
        if _flips(self.vertical_flip, draws[3]):
            framed, top = ImageOps.flip(framed), spare[1] - top
        return sample.with_image(framed, crop=(max(0, left), max(0, top)))

    def describe(self) -> dict[str, Any]:
        """Return the step as JSON."""
        fit = {"mode": self.fit.mode, **asdict(self.fit)}
        return {"name": self.name, **asdict(self), "fit": fit, "pad": list(self.pad)}

    def _offset(self, room: int, draw: float) -> int:
        if self.crop == "random" and room > 0:
            return int(draw * (room + 1))
        return room // 2

    def _cut(self, image: Image.Image, target: Size, left: int, top: int) -> Image.Image:
        if left >= 0 and top >= 0:
            return image.crop((left, top, left + target[0], top + target[1]))
        page = Image.new("RGB", target, self.pad)
        page.paste(image, (-left, -top))
        return page


def _resized(image: Image.Image, size: Size, resampling: Resampling) -> Image.Image:
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling[resampling.upper()])


def _flips(flip: Flip, draw: float) -> bool:
    return flip == "always" or (flip == "random" and draw < 0.5)


RESAMPLINGS: tuple[str, ...] = get_args(Resampling)
