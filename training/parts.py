"""The parts of a training: each with its own parameters, optimizer, rate, schedule, beginning and end."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .optimizer import build_optimizer, load_optimizer_state, optimizer_state
from .schedule import LearningRateSchedule, learning_rate_factor


@dataclass(frozen=True)
class Pace:
    """How fast a part learns, and when.

    learning_rate: peak. start, stop: the part takes the updates number `start` up to but not `stop` (0-based).
    spike_every, spike_factor: every so many steps of the training (0: never) the rate is that many times as high.
    """

    learning_rate: float
    lr_schedule: LearningRateSchedule
    start: int
    stop: int
    warmup_steps: int = 0
    lr_cycles: int = 1
    spike_every: int = 0
    spike_factor: float = 1.0

    def active(self, step: int) -> bool:
        """Say whether update number `step` changes the part."""
        return self.start <= step < self.stop

    def rate(self, step: int) -> float:
        """Return the learning rate of update number `step`; the schedule runs from `start` to `stop`."""
        length = self.stop - self.start
        factor = learning_rate_factor(self.lr_schedule, step - self.start, length, self.warmup_steps, self.lr_cycles)
        spikes = self.spike_every and (step + 1) % self.spike_every == 0
        return self.learning_rate * factor * (self.spike_factor if spikes else 1.0)


class Part:
    """Parameters that are trained together, and their optimizer while they are.

    Outside its steps a part is frozen: no gradient is computed for it, no optimizer state is kept, and its values stay
    bit for bit.
    """

    def __init__(
        self,
        name: str,
        parameters: Mapping[str, nn.Parameter],
        pace: Pace,
        weight_decay: float,
        after_update: Callable[[], None] = lambda: None,
    ) -> None:
        """parameters: by names that no other part has. after_update: what is done to the values after each update."""
        self.name = name
        self.parameters = dict(parameters)
        self.pace = pace
        self._after_update = after_update
        self.optimizer = build_optimizer(self.parameters.values(), pace.learning_rate, weight_decay)

    def prepare(self, step: int) -> bool:
        """Freeze or thaw the part for update number `step`; returns whether the update changes it."""
        active = self.pace.active(step)
        for parameter in self.parameters.values():
            parameter.requires_grad_(active)
        if not active:
            self.optimizer.zero_grad(set_to_none=True)
            self.optimizer.state.clear()
        return active

    def thaw(self, step: int) -> None:
        """Let the part take gradients if an update from number `step` on changes it."""
        for parameter in self.parameters.values():
            parameter.requires_grad_(step < self.pace.stop)

    @property
    def has_gradient(self) -> bool:
        """Whether the last backward pass reached the part: a batch may be without its word."""
        return any(parameter.grad is not None for parameter in self.parameters.values())

    def clip(self, max_norm: float) -> float:
        """Scale the gradient down to `max_norm` (0: leave it); returns its norm before that."""
        return float(torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), max_norm or math.inf))

    def set_rate(self, step: int) -> float:
        """Give the optimizer the rate of update number `step`; returns it."""
        rate = self.pace.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def updated(self) -> None:
        """Do what follows an update, and forget the gradient."""
        self._after_update()
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the optimizer's state: tensors ``<parameter>.<entry>``, and JSON values."""
        return optimizer_state(self.optimizer, self.parameters)

    def load_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Put back what `state` returned; entries of other parts' parameters are passed over."""
        load_optimizer_state(self.optimizer, self.parameters, _own(tensors, self), _own(values, self))


@dataclass(frozen=True)
class PartRecord:
    """What one update did to a part. grad_norm: before clipping; 0 when no sample had to do with the part."""

    learning_rate: float
    grad_norm: float


def stop_step(fraction: float, total_steps: int) -> int:
    """Return how many of `total_steps` updates a part takes that is trained for this part of them, at least one."""
    return max(1, round(fraction * total_steps))


def start_step(fraction: float, total_steps: int) -> int:
    """Return how many of `total_steps` updates go by before a part joins that waits for this part of them, not all."""
    return min(round(fraction * total_steps), total_steps - 1)


def _own(entries: Mapping[str, Any], part: Part) -> dict[str, Any]:
    return {key: value for key, value in entries.items() if key.rsplit(".", 1)[0] in part.parameters}
