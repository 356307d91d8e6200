"""Damage that a model cannot hear: the training goes on, and its report says so."""

from collections.abc import Collection, Mapping

from ..dataset.dataset import Dataset
from .encode import POOLED

_TOLD_SIZES = ("sdxl",)
_TOLD_POOLED = ("sdxl", "flux", "flux-schnell")


def unheard_sizes(dataset: Dataset, family: str) -> list[str]:
    """Return a warning for each step that changes what a model of `family` is told of sizes, where it is told none."""
    if family in _TOLD_SIZES:
        return []
    steps = [*dataset.steps, *(step for item in dataset.items for step in item.steps)]
    names = dict.fromkeys(step.name for step in steps if step.touches == "size")
    return [
        f"Warning: {name} had no effect: this model is not told sizes, leave it out or train an SDXL model."
        for name in names
    ]


def unheard_encoded(changed: Mapping[str, Collection[str]], family: str) -> list[str]:
    """Return a warning for each step that changed nothing which a model of `family` takes in.

    changed: of each step, the parts of the encoded items in which values changed.
    """
    deaf_to = set() if family in _TOLD_POOLED else {POOLED}
    return [
        f"Warning: {name} had no effect: it changed nothing that this model takes in, leave it out or take another "
        "model (its help names those it is for)."
        for name, parts in changed.items()
        if not set(parts) - deaf_to
    ]
