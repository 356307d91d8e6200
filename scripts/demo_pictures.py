"""Many pictures of the demo model at once, by ComfyUI's own sampler: for benchmarks, studies and tests.

Each picture has its own prompt and its own seed's noise, so a batch holds what one picture after another would show
(but for samplers that add noise of their own, which the batch shares).
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

from as_package import register_pack

STEPS, CFG, SAMPLER, SCHEDULER = 20, 4.0, "euler", "simple"


def import_host() -> None:
    """Make ComfyUI and the pack importable in a process of its own; on the CPU when there is no GPU."""
    sys.path.append(os.environ["COMFYUI_PATH"])
    import comfy.cli_args
    import torch

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    register_pack()


def pictures(
    parts: tuple[Any, Any, Any],
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    negative: str = "",
    steps: int = STEPS,
    cfg: float = CFG,
    sampler: str = SAMPLER,
    scheduler: str = SCHEDULER,
    size: int = 64,
    batch: int = 20,
) -> list[Any]:
    """Return one picture [size, size, 3] of 8 bits per prompt and seed, drawn by (MODEL, CLIP, VAE)."""
    drawn: list[Any] = []
    for start in range(0, len(prompts), batch):
        some = slice(start, start + batch)
        drawn += _batch(parts, prompts[some], seeds[some], (steps, cfg, sampler, scheduler), size, negative)
    return drawn


def _batch(
    parts: tuple[Any, Any, Any],
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: tuple[Any, ...],
    size: int,
    negative: str,
) -> list[Any]:
    import comfy.sample
    import torch
    from glitch_lora.host.rendering import empty_latent
    from glitch_lora.training.randomness import preserved_generators

    model, clip, vae = parts
    with torch.no_grad(), preserved_generators():
        latent = empty_latent(model, size, size)
        noise = torch.cat([comfy.sample.prepare_noise(latent, seed) for seed in seeds])
        latent = latent.repeat(len(prompts), 1, 1, 1)
        positive, against = _conditioning(clip, prompts), _conditioning(clip, [negative] * len(prompts))
        samples = comfy.sample.sample(
            model, noise, *settings, positive, against, latent, disable_pbar=True, seed=int(seeds[0])
        )
        return list((vae.decode(samples) * 255).round().to(torch.uint8).cpu().numpy())


def _conditioning(clip: Any, prompts: Sequence[str]) -> list[list[Any]]:
    import torch
    from glitch_lora.host.rendering import encode_prompt

    encoded = {prompt: encode_prompt(clip, prompt)[0] for prompt in dict.fromkeys(prompts)}
    first = encoded[prompts[0]][1]
    return [[torch.cat([encoded[prompt][0] for prompt in prompts]), dict(first)]]
