"""One picture from a prompt, exactly as the stock nodes make it: Empty Latent Image, KSampler, VAE Decode.

The samplers draw some of their noise from the global generators, and the stock noise function seeds them: the same
calls are made here, but the generators are put back afterwards. A picture is the same as from the stock nodes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import torch

PIXELS_PER_LATENT = 8


def require_parts(clip: Any, vae: Any) -> None:
    """Raise ValueError for what Load Checkpoint gives from a file without text encoder (None) or VAE (an empty one)."""
    for name, part in (("clip", clip), ("vae", getattr(vae, "first_stage_model", None))):
        if part is None:
            raise ValueError(
                f"{name}: got nothing, allowed a {name.upper()}, connect one: this checkpoint file has none of its own"
            )


def encode_prompt(clip: Any, text: str) -> list[list[Any]]:
    """Return the CONDITIONING that CLIPTextEncode gives for `text`, prompt syntax included."""
    with torch.no_grad():
        return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def render(
    model: Any,
    vae: Any,
    positive: list[list[Any]],
    negative: list[list[Any]],
    *,
    width: int,
    height: int,
    seed: int,
    steps: int,
    cfg: float,
    sampler: str,
    scheduler: str,
) -> torch.Tensor:
    """Return one picture, float [1, height, width, 3] in 0..1, as the stock nodes render it at full denoise.

    width, height: pixels; rounded down to a multiple of 8, as Empty Latent Image does.
    positive, negative: CONDITIONING (`encode_prompt`). The host's interrupt is raised between two sampler steps.
    The global random generators are left as they were found, also after an error.
    """
    latent = empty_latent(model, width, height)
    with torch.no_grad(), kept_generators():
        samples = comfy.sample.sample(
            model,
            comfy.sample.prepare_noise(latent, seed),
            steps,
            cfg,
            sampler,
            scheduler,
            positive,
            negative,
            latent,
            callback=_raise_if_interrupted,
            disable_pbar=True,
            seed=seed,
        )
        return decode(vae, samples)


def empty_latent(model: Any, width: int, height: int) -> torch.Tensor:
    """Return the zero latent KSampler starts from: Empty Latent Image's, with the channels `model` needs."""
    latent = torch.zeros(
        [1, 4, height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT],
        device=comfy.model_management.intermediate_device(),
        dtype=comfy.model_management.intermediate_dtype(),
    )
    return comfy.sample.fix_empty_latent_channels(model, latent, PIXELS_PER_LATENT, None)


def decode(vae: Any, samples: torch.Tensor) -> torch.Tensor:
    """Return the pictures VAE Decode gives, float [n, height, width, 3]; frames of a video become pictures."""
    images = vae.decode(samples)
    return images.reshape(-1, *images.shape[-3:]) if images.ndim == 5 else images


def sampler_names() -> tuple[str, ...]:
    """Return the samplers KSampler offers in this ComfyUI."""
    return tuple(comfy.samplers.KSampler.SAMPLERS)


def scheduler_names() -> tuple[str, ...]:
    """Return the schedulers KSampler offers in this ComfyUI."""
    return tuple(comfy.samplers.KSampler.SCHEDULERS)


@contextmanager
def kept_generators() -> Iterator[None]:
    """Put torch's global generators (CPU and every CUDA device) back when the block ends, however it ends."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield


def _raise_if_interrupted(step: int, x0: torch.Tensor, x: torch.Tensor, total_steps: int) -> None:
    comfy.model_management.throw_exception_if_processing_interrupted()


def with_clip_layer(clip: Any, layer: int | None) -> Any:
    """Return a CLIP that takes its conditioning from `layer`, as CLIP Set Last Layer does.

    layer: None is the encoder's own default, also where the CLIP given in has another layer set.
    """
    if clip is None or clip.layer_idx == layer:
        return clip
    changed = clip.clone()
    changed.clip_layer(layer)
    return changed


def text_encoder_changed(before: Any, after: Any) -> bool:
    """Say whether a LoRA loader put patches on the CLIP `after` that `before` does not have."""
    counts = [{key: len(patches) for key, patches in clip.patcher.patches.items()} for clip in (before, after)]
    return counts[0] != counts[1]


def restore_weights(*patchers: Any) -> None:
    """Take merged LoRAs of clones off the weights that `patchers` (MODELs, a CLIP's patcher) share with them.

    ComfyUI does so only when the next one is loaded; who looks at the weights before must not find another's LoRA.
    """
    for patcher in patchers:
        merged = getattr(patcher.model, "current_weight_patches_uuid", None)
        if merged not in (None, patcher.patches_uuid):
            loaded = comfy.model_management.current_loaded_models
            others = [entry for entry in loaded if entry.model is None or not patcher.is_clone(entry.model)]
            comfy.model_management.free_memory(1e30, patcher.load_device, keep_loaded=others)
