"""What is written down about a saved picture: where it comes from and what was done to it."""

import platform
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import PIL
from PIL import Image, features

from .dataset import Dataset
from .images import open_rgb
from .sample import Sample
from .waiting import WAITING

Measure = Callable[[Image.Image], Mapping[str, float]]

_CODECS = ("libjpeg_turbo", "zlib", "webp", "avif", "jpg_2000")


def manifest_row(
    dataset: Dataset, index: int, variant: int, sample: Sample, measure: Measure | None = None
) -> dict[str, Any]:
    """Return what the manifest says of a sample, as JSON: all but the file's own name and bytes.

    "steps" are those of the whole chain with their parameters; "damage" is what really happened to this picture, with
    the severity it was dealt; "waiting" names steps that only act on encoded samples or on the sizes told with them, so
    not on the saved picture.
    "before" and "after": what `measure` says of the picture as loaded and as saved.
    """
    item = dataset.items[index]
    steps = (*item.steps, *dataset.steps)
    waiting = list(dict.fromkeys(step.name for step in steps if step.touches in WAITING))
    row: dict[str, Any] = {
        "caption": sample.caption,
        "triggers": list(sample.triggers),
        "source": item.name,
        "item": item.key,
        "variant": variant,
        "repeats": item.repeats,
        "original_size": list(sample.original_size),
        "size": list(sample.image.size),
        "crop": list(sample.crop),
        "steps": [step.describe() for step in steps],
        "damage": [
            {"operation": name, "severity": severity} for name, severity in sample.damage if name not in waiting
        ],
        "waiting": waiting,
        "versions": versions(),
    }
    if measure is not None:
        row["before"] = dict(measure(open_rgb(item.path, item.background)))
        row["after"] = dict(measure(sample.image))
    return row


def versions() -> dict[str, str]:
    """Return the versions that decide the bits of a picture: Python, NumPy, Pillow, and its codecs."""
    codecs = {name: features.version(name) for name in _CODECS if features.check(name)}
    known = {name: version for name, version in codecs.items() if version}
    return {"python": platform.python_version(), "numpy": np.__version__, "pillow": PIL.__version__, **known}
