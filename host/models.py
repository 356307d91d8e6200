"""A private copy of a MODEL that can be trained.

The copy is reloaded from the loader's file (or deep-copied), the LoRAs already on the MODEL are baked into it, and
nothing done to it reaches the MODEL that came in.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any, Literal

import comfy.model_management
import comfy.model_sampling
import comfy.samplers
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ..training.conditioning import SizeConditioning, TextConditioning
from .blocks import checkpointed, out_of_place
from .families import Family, family_of
from .lora_keys import lora_names
from .private_copy import (
    PLAIN_DTYPES,
    bake_patches,
    in_training,
    load,
    own_weights,
    private_patcher,
    release,
    strip_hooks,
)

Prediction = Literal["epsilon", "v_prediction", "flow"]

# What the model is, as opposed to how it is to be sampled: these object patches stay on the copy.
_KEPT_OBJECT_PATCHES = ("model_sampling", "latent_format")
_PREDICTIONS: tuple[tuple[type, Prediction], ...] = (
    (comfy.model_sampling.V_PREDICTION, "v_prediction"),  # a subclass of EPS: asked first
    (comfy.model_sampling.EPS, "epsilon"),
    (comfy.model_sampling.CONST, "flow"),
)
_OTHER_PREDICTIONS = (comfy.model_sampling.EDM, comfy.model_sampling.X0, comfy.model_sampling.IMG_TO_IMG_FLOW)


Conditions = dict[str, Any]  # name -> ComfyUI COND object of batch 1


class TrainingModel:
    """The private copy, seen as the trainer needs it: noise it, denoise it, load it, reach its network."""

    def __init__(self, patcher: ModelPatcher, family: Family, dtype: torch.dtype) -> None:
        self.patcher = patcher
        self.family = family
        self.dtype = dtype
        self.prediction = prediction_of(self.sampling)

    @property
    def network(self) -> nn.Module:
        """The diffusion model itself; adapters are injected here."""
        return self.patcher.model.diffusion_model

    @property
    def sampling(self) -> Any:
        """ComfyUI's `model_sampling`, a ModelSampling* node's replacement included."""
        return self.patcher.get_model_object("model_sampling")

    @property
    def device(self) -> torch.device:
        """The device the training runs on."""
        return self.patcher.load_device

    def scale_latent(self, latent: Tensor) -> Tensor:
        """Return the VAE's latent scaled and shifted as the network expects it."""
        return self.patcher.model.process_latent_in(latent)

    def sigma_at(self, u: Tensor) -> Tensor:
        """Return the training noise level for uniform draws `u` in [0, 1), shape kept.

        Discrete models: the table's entry, every timestep equally likely (Ho et al. 2020). Flow models: logit-normal
        time (Esser et al. 2024, section 3.1), warped by the model's own shift.
        """
        if self.prediction != "flow":
            sigmas = self.sampling.sigmas.to(u)
            return sigmas[(u * len(sigmas)).long().clamp(max=len(sigmas) - 1)]
        normal = torch.special.ndtri(u.double().clamp(1e-6, 1 - 1e-6))
        time = torch.sigmoid(normal).to(u)
        return self.sampling.sigma(time * getattr(self.sampling, "multiplier", 1.0))

    def add_noise(self, x0: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Return x_t for scaled latents `x0` and `noise` [B, C, H, W] at `sigma` [B]."""
        return self.sampling.noise_scaling(sigma, noise, x0)

    def conditions(self, text: TextConditioning, latent: Tensor, size: SizeConditioning) -> Conditions:
        """Return the network's extra inputs for one picture with latent [1, C, H, W], through ComfyUI's own code."""
        cond = {"cross_attn": text.cross_attn, "model_conds": {}, **text.extras, **_as_kwargs(size)}
        model = self.patcher.model
        return comfy.samplers.encode_model_conds(model.extra_conds, [cond], latent, self.device, "positive")[0][
            "model_conds"
        ]

    def denoise(self, x_t: Tensor, sigma: Tensor, conditions: Sequence[Conditions]) -> Tensor:
        """Return the denoised prediction [B, C, H, W], each sample under its own conditions.

        Captions of different lengths share a forward only where ComfyUI can join them without changing the result.
        """
        groups = _joinable(conditions)
        if len(groups) == 1:
            return self._apply(x_t, sigma, conditions)
        parts = [self._apply(x_t[group], sigma[group], [conditions[i] for i in group]) for group in groups]
        order = torch.tensor([i for group in groups for i in group], device=x_t.device)
        return torch.cat(parts)[order.argsort()]

    def _apply(self, x_t: Tensor, sigma: Tensor, conditions: Sequence[Conditions]) -> Tensor:
        first, rest = conditions[0], conditions[1:]
        joined = {name: cond.concat([other[name] for other in rest]) for name, cond in first.items()}
        with self._autocast():
            return self.patcher.model.apply_model(
                x_t, sigma, **joined, transformer_options={"optimized_attention_override": _sdpa}
            )

    def _autocast(self) -> Any:
        enabled = self.dtype in (torch.float16, torch.bfloat16)
        return torch.autocast(self.device.type, dtype=self.dtype if enabled else torch.bfloat16, enabled=enabled)

    def layers(self, target_modules: str) -> list[str]:
        """Return the paths of the network's layers that `target_modules` adapts."""
        return self.family.layers(self.network, target_modules)

    def lora_names(self) -> dict[str, str]:
        """Return the key prefix of each layer in a LoRA file of this family."""
        return lora_names(self.patcher)

    def load(self) -> None:
        """Put the whole network on the training device; does nothing while it is still there."""
        load(self.patcher)

    def free_others(self) -> None:
        """Take every other model off the training device."""
        management = comfy.model_management
        kept = [entry for entry in management.current_loaded_models if entry.model is self.patcher]
        management.free_memory(1e30, self.device, keep_loaded=kept)

    def adapters_changed(self) -> None:
        """Tell the patcher that the network has grown, so that its size is measured again."""
        self.patcher.size = 0
        self.patcher.model_size()

    # Found once: walking thousands of modules costs 10 ms a step, and adapters replace layers, never blocks.
    @cached_property
    def _in_place_blocks(self) -> list[nn.Module]:
        return list(self.family.in_place(self.network))

    @cached_property
    def _checkpoint_blocks(self) -> list[nn.Module]:
        return list(self.family.checkpoint_blocks(self.network))

    @contextmanager
    def training(self, gradient_checkpointing: bool) -> Iterator[None]:
        """Hold the network ready for forward and backward passes; everything is as before afterwards."""
        with ExitStack() as stack:
            stack.enter_context(out_of_place(self._in_place_blocks))
            if gradient_checkpointing:
                stack.enter_context(checkpointed(self._checkpoint_blocks))
            stack.enter_context(in_training())
            yield


def _as_kwargs(size: SizeConditioning) -> dict[str, int]:
    """Return the names ComfyUI's CONDITIONING uses for SDXL's size conditioning."""
    return {
        "width": size.original[0],
        "height": size.original[1],
        "crop_w": size.crop[0],
        "crop_h": size.crop[1],
        "target_width": size.target[0],
        "target_height": size.target[1],
    }


def prediction_of(sampling: Any) -> Prediction:
    """Return what the network predicts. Raises ValueError for parameterisations whose loss is not proved."""
    if not isinstance(sampling, _OTHER_PREDICTIONS) and getattr(sampling, "noise_scale", 1.0) == 1.0:
        for kind, name in _PREDICTIONS:
            if isinstance(sampling, kind):
                return name
    bases = [base.__name__ for base in type(sampling).__mro__[1:3]]
    raise ValueError(
        f"model: got the sampling {' / '.join(bases)}, allowed epsilon, v-prediction and flow matching, "
        "remove the ModelSampling node or use another checkpoint"
    )


def training_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype the frozen network computes in; "auto" is bf16 or fp16 on a GPU that has it, else fp32."""
    named = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "fp64": torch.float64}
    if precision != "auto":
        return named[precision]
    if comfy.model_management.is_device_cpu(device) or comfy.model_management.is_device_mps(device):
        return torch.float32
    if comfy.model_management.should_use_bf16(device):
        return torch.bfloat16
    return torch.float16 if comfy.model_management.should_use_fp16(device) else torch.float32


@contextmanager
def private_model(model: ModelPatcher, precision: str = "auto") -> Iterator[TrainingModel]:
    """Give a trainable copy of `model` for the length of the context, patches baked in, ready to take adapters.

    precision: "auto", "bf16", "fp16", "fp32" (or "fp64", for gradient tests). Raises ValueError for a family or
    parameterisation that is not supported, and for a MODEL that can neither be reloaded nor copied.
    """
    family = family_of(model)
    prediction_of(model.get_model_object("model_sampling"))
    with torch.inference_mode(False):
        patcher = private_patcher(model, "model")
        training_model = TrainingModel(patcher, family, training_dtype(precision, patcher.load_device))
        try:
            _strip_sampling(patcher)
            bake_patches(patcher)
            _own_weights(patcher, training_model.dtype)
            patcher.pre_run()
            yield training_model
        finally:
            release(patcher)


def _strip_sampling(patcher: ModelPatcher) -> None:
    # Attention patches and the like belong to the graph's sampling, not to what is trained.
    patcher.model_options = {"transformer_options": {}}
    patcher.object_patches = {k: v for k, v in patcher.object_patches.items() if k in _KEPT_OBJECT_PATCHES}
    strip_hooks(patcher)


def _own_weights(patcher: ModelPatcher, dtype: torch.dtype) -> None:
    network = patcher.model
    own_weights(network, dtype)
    quantised = any(p.dtype not in PLAIN_DTYPES for p in network.diffusion_model.parameters())
    if not quantised:
        network.diffusion_model.dtype = dtype
    network.manual_cast_dtype = dtype if quantised else None
    patcher.force_cast_weights = quantised
    patcher.size = 0


def _joinable(conditions: Sequence[Conditions]) -> list[list[int]]:
    groups: list[list[int]] = []
    for index, mine in enumerate(conditions):
        for group in groups:
            if all(_can_join(conditions[other], mine) for other in group):
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def _can_join(a: Conditions, b: Conditions) -> bool:
    return a.keys() == b.keys() and all(a[name].can_concat(b[name]) for name in a)


def _sdpa(_: Any, *args: Any, **kwargs: Any) -> Tensor:
    # Whatever attention ComfyUI runs on, this one has a backward on every device.
    return attention_pytorch(*args, **kwargs)
