"""The training loop."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from .adapters import LoraAdapters
from .batches import BatchOrder, BatchReader, Draw
from .conditioning import TextConditioning
from .encode import EncodedDataset, EncodedSample
from .model import TrainableModel
from .noise import training_noise
from .objective import loss_per_sample, min_snr_weight
from .parts import Pace, Part, PartRecord, start_step
from .randomness import seeded, uniform
from .recipe import Recipe
from .text_side import TextSide

SMALLEST_SCALE = 2.0**-14  # of fp16's gradient scaler, which starts at 2**16


@dataclass(frozen=True)
class StepRecord:
    """One optimizer update, as metrics.jsonl keeps it. loss: mean over the update's samples; seconds: wall time.

    learning_rate: the network's, or else the first part's that learns. grad_norm: over all parts, before clipping.
    parts: each part that this update changed, where there is more than the network.
    """

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    sigma_mean: float
    seconds: float
    parts: dict[str, PartRecord] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = asdict(self)
        return values if self.parts else {name: value for name, value in values.items() if name != "parts"}


class NotFinite(ValueError):
    """The loss or its gradient became NaN or infinite; the message names step, items and noise levels."""


class Training:
    """A model with what is trained of it, an encoded dataset and optimizers, standing at a step.

    Everything random is a function of (seed, step, place in the update), so that going on from a saved state is the
    same as never having stopped, and accumulating k batches of b is the same as one batch of k*b.
    """

    def __init__(
        self,
        model: TrainableModel,
        adapters: LoraAdapters | None,
        data: EncodedDataset,
        recipe: Recipe,
        total_steps: int,
        text: TextSide | None = None,
    ) -> None:
        """adapters: of the network, None when the text side alone is trained. text: None when it is not."""
        self.step = 0
        self.settled = True  # False while the optimizers write: a state taken then would be half a step
        self._model = model
        self._adapters = adapters
        self._text = text
        self._data = data
        self._recipe = recipe
        self._parts = [_network_part(adapters, recipe, total_steps)] if adapters else []
        self._parts += text.parts(total_steps) if text else []
        self._batches = BatchReader(batch_order(data, recipe))
        # fp16 gradients underflow without a scale; other dtypes do not need one.
        self._scaler = torch.amp.GradScaler(model.device.type, enabled=model.dtype is torch.float16)

    @property
    def trained_values(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for part in self._parts for parameter in part.parameters.values())

    def run(self, until: int, after_step: Callable[[StepRecord], None]) -> None:
        """Train up to and including step `until`; `after_step` reports, saves and may raise to stop."""
        while self.step < until:
            after_step(self.update())

    def update(self) -> StepRecord:
        """Make one optimizer update and return its record. Raises `NotFinite`, leaving what is trained as it was."""
        started = time.perf_counter()
        parts = [part for part in self._parts if part.prepare(self.step)]
        with self._ready():
            loss, sigmas = self.backward(self._draws(self.step), self.step)
        records = self._step_optimizers(parts, sigmas)
        self.step += 1
        self.settled = True
        return StepRecord(
            self.step,
            loss,
            next(iter(records.values())).learning_rate,
            math.hypot(*(record.grad_norm for record in records.values())),
            sum(sigmas) / len(sigmas),
            round(time.perf_counter() - started, 4),
            records if self._text else None,
        )

    def probe(self) -> None:
        """Run one forward and backward pass on the largest batch there is and forget the result.

        Shows before the first step whether it fits, and how long a step takes. Every part that is still to learn takes
        part, also one whose turn comes later.
        """
        for part in self._parts:
            part.thaw(self.step)
        with self._ready():
            self.backward([batch_order(self._data, self._recipe).largest()], self.step)
        self._forget_gradients()

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """Hold everything on the device and ready for forward and backward passes."""
        self._model.load()
        with ExitStack() as stack:
            stack.enter_context(self._model.training(self._recipe.gradient_checkpointing))
            if self._adapters:
                self._adapters.train(True)
            if self._text:
                self._text.load()
                self._text.train(True)
                stack.enter_context(self._text.text.training(self._recipe.gradient_checkpointing))
            yield

    def backward(self, batches: list[tuple[Draw, ...]], step: int) -> tuple[float, list[float]]:
        """Add the gradient of the mean loss over all samples of `batches`; return that loss and the noise levels."""
        total = sum(len(batch) for batch in batches)
        loss_sum, sigmas, place = 0.0, list[float](), 0
        for batch in batches:
            with seeded(self._recipe.seed, "dropout", step, place):
                losses, sigma = self._losses(batch, step, place)
                self._require_finite(losses, "loss", step, batch, sigma.tolist())
                if losses.requires_grad:  # a batch without a word that is learnt teaches nothing
                    self._scaler.scale(losses.sum() / total).backward()
            loss_sum += float(losses.detach().sum())
            sigmas += sigma.tolist()
            place += len(batch)
        return loss_sum / total, sigmas

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything `load_state` needs to go on from here: tensors, and JSON values."""
        trained = (self._adapters.state() if self._adapters else {}) | (self._text.state() if self._text else {})
        tensors, values = dict[str, Tensor](), dict[str, Any]()
        for part in self._parts:
            own_tensors, own_values = part.state()
            tensors |= own_tensors
            values |= own_values
        tensors = {f"optimizer.{name}": value for name, value in tensors.items()}
        tensors |= {f"adapter.{name}": value for name, value in trained.items()}
        return tensors, {"optimizer": values, "scaler": self._scaler.state_dict()}

    def load_state(self, step: int, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Stand where `state` was taken, after `step` updates. The model must be on its device already."""
        trained, optimizer = _under("adapter.", tensors), _under("optimizer.", tensors)
        if self._adapters:
            self._adapters.load(trained)
        if self._text:
            self._text.load_state(trained)
        for part in self._parts:
            part.load_state(optimizer, values["optimizer"])
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

    def _samples(self, batch: tuple[Draw, ...], step: int, place: int) -> Iterator[EncodedSample]:
        heard: dict[str, TextConditioning] = {}
        for i, draw in enumerate(batch, start=place):
            chance = float(uniform(1, self._recipe.seed, "caption_dropout", step, i))
            silent = chance < self._recipe.caption_dropout
            if self._text is None:
                yield self._data.sample(draw.item, draw.variant, without_caption=silent)
                continue
            caption = self._data.caption(draw.item, draw.variant)
            caption = "" if silent else self._text.training_caption(caption, step, i)
            if caption not in heard:  # equal captions of a batch share the work
                heard[caption] = self._text.heard(caption, step)
            latent, size = self._data.latent(draw.item, draw.variant), self._data.size(draw.item, draw.variant)
            yield EncodedSample(latent, heard[caption], size)

    def _step_optimizers(self, parts: list[Part], sigmas: list[float]) -> dict[str, PartRecord]:
        """Let each part's optimizer make its update; returns what it did by the part's name."""
        moving = [part for part in parts if part.has_gradient]
        for part in moving:
            self._scaler.unscale_(part.optimizer)
        norms = {part.name: part.clip(self._recipe.max_grad_norm) for part in moving}
        if not self._scaler.is_enabled() and not all(map(math.isfinite, norms.values())):
            self._raise_gradient(sigmas)
        rates = {part.name: part.set_rate(self.step) for part in parts}
        self.settled = False
        for part in moving:
            self._scaler.step(part.optimizer)
        if moving:
            self._scaler.update()
        for part in moving:
            part.updated()
        if self._scaler.is_enabled() and self._scaler.get_scale() < SMALLEST_SCALE:
            # Every step was skipped for overflow while the scale was halved again and again: it is not overflow.
            self._raise_gradient(sigmas)
        return {part.name: PartRecord(rates[part.name], norms.get(part.name, 0.0)) for part in parts}

    def _raise_gradient(self, sigmas: list[float]) -> None:
        self._forget_gradients()
        raise NotFinite(_not_finite("gradient", self.step, self._draws(self.step), self._data, sigmas))

    def _forget_gradients(self) -> None:
        for part in self._parts:
            part.optimizer.zero_grad(set_to_none=True)

    def _require_finite(
        self, losses: Tensor, what: str, step: int, batch: tuple[Draw, ...], sigmas: list[float]
    ) -> None:
        bad = [i for i, finite in enumerate(torch.isfinite(losses.detach()).tolist()) if not finite]
        if bad:
            self._forget_gradients()
            where = tuple(batch[i] for i in bad)
            raise NotFinite(_not_finite(what, step, [where], self._data, [sigmas[i] for i in bad]))


def batch_order(data: EncodedDataset, recipe: Recipe) -> BatchOrder:
    """Return the order in which `recipe` goes through `data`."""
    return BatchOrder(data.order, data.groups, data.variants, recipe.batch_size, recipe.seed)


def _network_part(adapters: LoraAdapters, recipe: Recipe, total_steps: int) -> Part:
    pace = Pace(
        recipe.learning_rate,
        recipe.lr_schedule,
        start_step(recipe.network_start_frac, total_steps),
        total_steps,
        recipe.warmup_steps,
        recipe.lr_cycles,
        recipe.lr_spike_every,
        recipe.lr_spike_factor,
    )
    return Part("network", adapters.named_parameters(), pace, recipe.weight_decay)


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
