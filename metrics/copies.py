"""Is a picture a copy? Its nearest neighbour among known pictures, by perceptual hash and by distance ratio."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .planes import Picture, luma
from .registry import metric
from .texture import Features

Hash = NDArray[np.bool_]

COPY = 10  # bits; up to here two pictures are flagged as one
_SIDE, _KEPT = 32, 8
_CROP = 0.9


@dataclass(frozen=True)
class Nearest:
    """The nearest of the known pictures. index: its place among them. view: as what it came nearest. bits: how far."""

    index: int
    view: str
    bits: int

    @property
    def copied(self) -> bool:
        """Return whether it is near enough to be called a copy."""
        return self.bits <= COPY


@metric("Hash distance", "bits of 64", "paired")
def hash_distance(picture: Picture, reference: Picture) -> float:
    """Hamming distance of the perceptual hashes: 0 the same layout, about 32 for pictures of other things."""
    return float(np.count_nonzero(perceptual_hash(picture) != perceptual_hash(reference)))


def perceptual_hash(picture: Picture) -> Hash:
    """Return the 64 bits of pHash (Zauner 2010): the signs of the 8x8 lowest cosines of luma at 32x32 pixels.

    Each is compared with the median of all, the mean included, as the library imagehash does.
    """
    from scipy import fft

    grey = np.rint(luma(picture)).clip(0, 255).astype(np.uint8)
    small = np.asarray(Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), np.float64)
    low = np.asarray(fft.dctn(small))[:_KEPT, :_KEPT]
    return (low > np.median(low)).ravel()


def views(picture: Picture) -> dict[str, Picture]:
    """Return the picture as it may come back: itself and five crops of 90 %, each as it is and flipped."""
    height, width = picture.shape[:2]
    inner = max(1, round(height * _CROP)), max(1, round(width * _CROP))
    rest = height - inner[0], width - inner[1]
    corners = {"upper left": (0.0, 0.0), "upper right": (0.0, 1.0), "lower left": (1.0, 0.0), "lower right": (1.0, 1.0)}
    found = {"itself": picture}
    for name, (down, across) in ({"middle": (0.5, 0.5)} | corners).items():
        top, left = round(rest[0] * down), round(rest[1] * across)
        found[f"{name} crop"] = picture[top : top + inner[0], left : left + inner[1]]
    return found | {f"{name} flipped": view[:, ::-1] for name, view in found.items()}


class KnownPictures:
    """The hashes of known pictures in all their views, to look others up."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        """Raises ValueError when there are none."""
        if not pictures:
            raise ValueError("pictures: got none, allowed at least one, give pictures to look for")
        self._names = tuple(views(pictures[0]))
        self._hashes = np.array([[perceptual_hash(view) for view in views(one).values()] for one in pictures])

    def nearest(self, picture: Picture) -> Nearest:
        """Return the known picture that is nearest, in any of its views."""
        bits = np.count_nonzero(self._hashes != perceptual_hash(picture), axis=2)
        index, view = np.unravel_index(int(bits.argmin()), bits.shape)
        return Nearest(int(index), self._names[view], int(bits[index, view]))


def neighbour_ratio(one: Features, known: Sequence[Features], neighbours: int = 10) -> float:
    """Return the distance to the nearest of the known over the mean of the next ones: near 0 a copy, near 1 none.

    After Carlini et al. 2023, "Extracting training data from diffusion models", on `texture.features` or latents.
    neighbours: how many are looked at, the nearest included. Raises ValueError for fewer than two known.
    """
    if len(known) < 2:
        raise ValueError(f"known: got {len(known)}, allowed two or more, give more pictures")
    apart = np.sort(np.linalg.norm(np.asarray(known, np.float64) - one, axis=1))
    others = float(apart[1:neighbours].mean())
    return float(apart[0]) / others if others else 1.0
