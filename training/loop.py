"""The training loop."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from .adapters import LoraAdapters
from .batches import BatchOrder, BatchReader, Draw
from .encode import EncodedDataset, EncodedSample
from .model import TrainableModel
from .noise import training_noise
from .objective import loss_per_sample, min_snr_weight
from .optimizer import build_optimizer, load_optimizer_state, optimizer_state
from .randomness import seeded, uniform
from .recipe import Recipe
from .schedule import learning_rate_factor

SMALLEST_SCALE = 2.0**-14  # of fp16's gradient scaler, which starts at 2**16


@dataclass(frozen=True)
class StepRecord:
    """One optimizer update, as metrics.jsonl keeps it. loss: mean over the update's samples; seconds: wall time."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    sigma_mean: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


class NotFinite(ValueError):
    """The loss or its gradient became NaN or infinite; the message names step, items and noise levels."""


class Training:
    """A model with adapters, an encoded dataset and an optimizer, standing at a step.

    Everything random is a function of (seed, step, place in the update), so that going on from a saved state is the
    same as never having stopped, and accumulating k batches of b is the same as one batch of k*b.
    """

    def __init__(
        self, model: TrainableModel, adapters: LoraAdapters, data: EncodedDataset, recipe: Recipe, total_steps: int
    ) -> None:
        self.step = 0
        self.settled = True  # False while the optimizer writes: a state taken then would be half a step
        self._model = model
        self._adapters = adapters
        self._data = data
        self._recipe = recipe
        self._total_steps = total_steps
        self._parameters = adapters.named_parameters()
        self._optimizer = build_optimizer(self._parameters.values(), recipe)
        self._batches = BatchReader(batch_order(data, recipe))
        # fp16 gradients underflow without a scale; other dtypes do not need one.
        self._scaler = torch.amp.GradScaler(model.device.type, enabled=model.dtype is torch.float16)

    def run(self, until: int, after_step: Callable[[StepRecord], None]) -> None:
        """Train up to and including step `until`; `after_step` reports, saves and may raise to stop."""
        while self.step < until:
            after_step(self.update())

    def update(self) -> StepRecord:
        """Make one optimizer update and return its record. Raises `NotFinite`, leaving the adapters as they were."""
        started = time.perf_counter()
        rate = self._rate()
        self._model.load()
        self._adapters.train(True)
        with self._model.training(self._recipe.gradient_checkpointing):
            loss, sigmas = self.backward(self._draws(self.step), self.step)
        grad_norm = self._step_optimizer(rate, sigmas)
        self.step += 1
        self.settled = True
        return StepRecord(
            self.step, loss, rate, grad_norm, sum(sigmas) / len(sigmas), round(time.perf_counter() - started, 4)
        )

    def probe(self) -> None:
        """Run one forward and backward pass on the largest batch there is and forget the result.

        Shows before the first step whether it fits, and how long a step takes.
        """
        self._model.load()
        with self._model.training(self._recipe.gradient_checkpointing):
            self.backward([batch_order(self._data, self._recipe).largest()], self.step)
        self._optimizer.zero_grad(set_to_none=True)

    def backward(self, batches: list[tuple[Draw, ...]], step: int) -> tuple[float, list[float]]:
        """Add the gradient of the mean loss over all samples of `batches`; return that loss and the noise levels."""
        total = sum(len(batch) for batch in batches)
        loss_sum, sigmas, place = 0.0, list[float](), 0
        for batch in batches:
            with seeded(self._recipe.seed, "dropout", step, place):
                losses, sigma = self._losses(batch, step, place)
                self._require_finite(losses, "loss", step, batch, sigma.tolist())
                self._scaler.scale(losses.sum() / total).backward()
            loss_sum += float(losses.detach().sum())
            sigmas += sigma.tolist()
            place += len(batch)
        return loss_sum / total, sigmas

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything `load_state` needs to go on from here: tensors, and JSON values."""
        tensors, values = optimizer_state(self._optimizer, self._parameters)
        adapters = {f"adapter.{name}": value for name, value in self._adapters.state().items()}
        optimizer = {f"optimizer.{name}": value for name, value in tensors.items()}
        return adapters | optimizer, {"optimizer": values, "scaler": self._scaler.state_dict()}

    def load_state(self, step: int, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Stand where `state` was taken, after `step` updates. The model must be on its device already."""
        self._adapters.load(_under("adapter.", tensors))
        load_optimizer_state(self._optimizer, self._parameters, _under("optimizer.", tensors), values["optimizer"])
        if values["scaler"]:
            self._scaler.load_state_dict(values["scaler"])
        self.step = step

    def _draws(self, step: int) -> list[tuple[Draw, ...]]:
        count = self._recipe.grad_accumulation_steps
        return [self._batches[step * count + i] for i in range(count)]

    def _losses(self, batch: tuple[Draw, ...], step: int, place: int) -> tuple[Tensor, Tensor]:
        """Return the losses [B] and noise levels [B] of one forward; `place` counts the samples before it."""
        device, recipe = self._model.device, self._recipe
        samples = list(self._samples(batch, step, place))
        x0 = self._model.scale_latent(torch.cat([sample.latent for sample in samples]).to(device).float())
        places = range(place, place + len(batch))
        noise = torch.cat([training_noise(recipe, s.latent, step, i) for s, i in zip(samples, places, strict=True)])
        u = torch.cat([uniform(1, recipe.seed, "sigma", step, i) for i in places]).to(device)
        sigma = self._model.sigma_at(recipe.min_timestep + (recipe.max_timestep - recipe.min_timestep) * u)
        x_t = self._model.add_noise(x0, noise.to(device), sigma)
        conditions = [self._model.conditions(s.text, x0[i : i + 1], s.size) for i, s in enumerate(samples)]
        denoised = self._model.denoise(x_t, sigma, conditions)
        losses = loss_per_sample(self._model.prediction, x_t, sigma, denoised, x0)
        if recipe.min_snr_gamma:
            losses = losses * min_snr_weight(self._model.prediction, sigma, recipe.min_snr_gamma)
        return losses, sigma

    def _rate(self) -> float:
        """Return the learning rate of the next update."""
        recipe = self._recipe
        factor = learning_rate_factor(
            recipe.lr_schedule, self.step, self._total_steps, recipe.warmup_steps, recipe.lr_cycles
        )
        spikes = recipe.lr_spike_every and (self.step + 1) % recipe.lr_spike_every == 0
        return recipe.learning_rate * factor * (recipe.lr_spike_factor if spikes else 1.0)

    def _samples(self, batch: tuple[Draw, ...], step: int, place: int) -> Iterator[EncodedSample]:
        for i, draw in enumerate(batch, start=place):
            chance = float(uniform(1, self._recipe.seed, "caption_dropout", step, i))
            yield self._data.sample(draw.item, draw.variant, without_caption=chance < self._recipe.caption_dropout)

    def _step_optimizer(self, rate: float, sigmas: list[float]) -> float:
        parameters = list(self._parameters.values())
        self._scaler.unscale_(self._optimizer)
        grad_norm = torch.nn.utils.clip_grad_norm_(parameters, self._recipe.max_grad_norm or math.inf)
        if not self._scaler.is_enabled() and not torch.isfinite(grad_norm):
            self._optimizer.zero_grad(set_to_none=True)
            raise NotFinite(_not_finite("gradient", self.step, self._draws(self.step), self._data, sigmas))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self.settled = False
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        if self._scaler.is_enabled() and self._scaler.get_scale() < SMALLEST_SCALE:
            # Every step was skipped for overflow while the scale was halved again and again: it is not overflow.
            raise NotFinite(_not_finite("gradient", self.step, self._draws(self.step), self._data, sigmas))
        return float(grad_norm)

    def _require_finite(
        self, losses: Tensor, what: str, step: int, batch: tuple[Draw, ...], sigmas: list[float]
    ) -> None:
        bad = [i for i, finite in enumerate(torch.isfinite(losses.detach()).tolist()) if not finite]
        if bad:
            self._optimizer.zero_grad(set_to_none=True)
            where = tuple(batch[i] for i in bad)
            raise NotFinite(_not_finite(what, step, [where], self._data, [sigmas[i] for i in bad]))


def batch_order(data: EncodedDataset, recipe: Recipe) -> BatchOrder:
    """Return the order in which `recipe` goes through `data`."""
    return BatchOrder(data.order, data.groups, data.variants, recipe.batch_size, recipe.seed)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _not_finite(
    what: str, step: int, batches: list[tuple[Draw, ...]], data: EncodedDataset, sigmas: list[float]
) -> str:
    items = sorted({data.names[draw.item] for batch in batches for draw in batch})
    levels = ", ".join(f"{sigma:.4g}" for sigma in sigmas)
    return (
        f"{what}: got NaN or infinity at step {step + 1}, item {', '.join(items)}, sigma {levels}; "
        "allowed are finite numbers; lower the learning rate, use bf16 or fp32 precision, or take the item out. "
        "The last finite checkpoint is kept."
    )
