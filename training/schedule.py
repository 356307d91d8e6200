"""Learning rate as a function of the step alone, so that resuming needs no scheduler state."""

import math
from typing import Literal

LearningRateSchedule = Literal["constant", "cosine", "linear", "cosine_with_restarts"]


def learning_rate_factor(
    schedule: LearningRateSchedule,
    step: int,
    total_steps: int,
    warmup_steps: int,
    cycles: int = 1,
) -> float:
    """Return what the peak rate is multiplied by for the update number `step` (0-based), 0..1.

    Linear warm-up over `warmup_steps`, then constant, half a cosine down to 0, a straight line down to 0, or so many
    half cosines after one another over the remaining steps. The values of diffusers' ``get_scheduler`` for these names.
    """
    if step < warmup_steps:
        return step / max(1, warmup_steps)
    if schedule == "constant":
        return 1.0
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    if schedule == "linear":
        return max(0.0, 1.0 - progress)
    if schedule == "cosine_with_restarts":
        return 0.0 if progress >= 1 else 0.5 * (1.0 + math.cos(math.pi * (cycles * progress % 1.0)))
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))


def depends_on_length(schedule: str) -> bool:
    """Say whether a longer training would have used other rates: then it cannot simply be continued."""
    return schedule != "constant"
