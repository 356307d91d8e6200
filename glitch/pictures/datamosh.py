"""Datamoshing: films whose changes are applied to the wrong picture, or too often."""

import math

import numpy as np
from PIL import Image, ImageOps

from ..context import Context
from ..registry import Parameter, operation
from .motion_clip import MOTIONS, frames, velocities
from .mpeg4 import encoded, last_frame, planes_of

_FINE = 2  # quantiser of what is meant to arrive unharmed
_MOTION = Parameter("motion", "mixed", "How the film moves; mixed: some of each", choices=("mixed", *MOTIONS))
_COARSENESS = Parameter("coarseness", 8, "Quantiser of the changes; coarser carries less texture", 1, 31)


def _speed(default: float) -> Parameter:
    return Parameter("speed", default, "Motion per frame, as a part of the side", 0.0, 0.1, 0.001)


@operation(
    "datamosh",
    Parameter("length", 10, "How many frames of the other film are applied", 1, 60, unit="frames"),
    _MOTION,
    _speed(0.015),
    _COARSENESS,
    tag="mosh",
    measured_by="distance",
    wants_context=True,
    codecs=("av",),
)
def datamosh_melt(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    context: Context,
    length: int,
    motion: str,
    speed: float,
    coarseness: int,
) -> Image.Image:
    """Datamosh, melting: the picture is dragged along by the motion of another one, whose whole frame was removed.

    Another picture of the dataset (alone: the same one, mirrored) is filmed in motion as MPEG-4; its changes are
    applied to this picture. Severity is the part of `length` that is played. Raises RuntimeError without MPEG-4.
    """
    other = context.stranger(rng)
    field = velocities(motion, rng)
    film = ImageOps.mirror(image) if other is None else ImageOps.fit(other.convert("RGB"), image.size)
    played = math.ceil(severity * length)
    whole = encoded([planes_of(image)], _FINE)
    changes = encoded(frames(planes_of(film), field, speed, played + 1), coarseness)[1:]
    return last_frame(whole + changes, image.size)


@operation(
    "datamosh",
    Parameter("length", 3, "How many different frames follow the first", 1, 30, unit="frames"),
    Parameter("repeats", 6, "How often the change of each frame is applied", 2, 60),
    _MOTION,
    _speed(0.01),
    _COARSENESS,
    tag="bloom",
    measured_by="distance",
    codecs=("av",),
)
def datamosh_bloom(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    length: int,
    repeats: int,
    motion: str,
    speed: float,
    coarseness: int,
) -> Image.Image:
    """Datamosh, blooming: every change of a film is applied again and again, so that edges sprout and smear.

    The picture is filmed in motion as MPEG-4. Severity is the part of the repeated changes that is played.
    Raises RuntimeError without MPEG-4.
    """
    field = velocities(motion, rng)
    played = math.ceil(severity * length * repeats)
    film = frames(planes_of(image), field, speed, math.ceil(played / repeats) + 1)
    whole, *changes = encoded(film, coarseness)
    return last_frame([whole, *(change for change in changes for _ in range(repeats))][: played + 1], image.size)
