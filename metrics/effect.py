"""How much a LoRA changes pictures: at the same prompt and seed, and over its strengths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .planes import Picture
from .registry import compare

# Tone and layout, colours, edges, and what it looks like.
EFFECT = ("distance", "ssim_loss", "structure_loss", "gradient_loss", "colour_distance", "feature_distance")


@dataclass(frozen=True)
class Effect:
    """The effect of a LoRA: metric -> value. mean and spread: over the pairs (the spread is their deviation)."""

    mean: dict[str, float]
    spread: dict[str, float]


@dataclass(frozen=True)
class StrengthCurve:
    """What an effect does over strengths. half: the strength with half of the largest effect, interpolated.

    steepest: largest rise per strength. jump: the largest change of slope over the median one; high when the
    effect sets in at once.
    """

    half: float
    steepest: float
    jump: float


def effect_size(pairs: Sequence[tuple[Picture, Picture]], names: Sequence[str] = EFFECT) -> Effect:
    """Return how far pictures are from those of the base model at the same prompt and seed.

    pairs: (with the LoRA, without), each two of one size. Raises ValueError when there are none.
    """
    if not pairs:
        raise ValueError("pairs: got none, allowed at least one, give pictures with and without the LoRA")
    rows = [compare(changed, base, names) for changed, base in pairs]
    columns = {name: np.array([row[name] for row in rows]) for name in names}
    mean = {name: float(values.mean()) for name, values in columns.items()}
    return Effect(mean, {name: float(values.std()) for name, values in columns.items()})


def strength_curve(effects: Mapping[float, float]) -> StrengthCurve:
    """Return what an effect (strength -> value) does over strengths. Raises ValueError for fewer than three."""
    if len(effects) < 3:
        raise ValueError(f"strengths: got {len(effects)}, allowed three or more, sweep more of them")
    strengths = np.array(sorted(effects))
    values = np.array([effects[strength] for strength in sorted(effects)], float)
    slopes = np.diff(values) / np.diff(strengths)
    bends = np.abs(np.diff(slopes))
    median = float(np.median(bends))
    return StrengthCurve(_crossing(strengths, values), float(slopes.max()), float(bends.max()) / max(median, 1e-9))


def _crossing(strengths: np.ndarray, values: np.ndarray) -> float:
    """Return where the effect first reaches half of its largest value."""
    goal = values.max() / 2
    after = int(np.argmax(values >= goal))
    if after == 0:
        return float(strengths[0])
    low, high = values[after - 1], values[after]
    return float(strengths[after - 1] + (goal - low) / (high - low) * (strengths[after] - strengths[after - 1]))
