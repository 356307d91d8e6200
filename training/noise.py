"""The noise a picture is trained with, plain or bent on purpose."""

import hashlib

import torch
from torch import Tensor

from .randomness import normal, uniform
from .recipe import Recipe


def training_noise(recipe: Recipe, latent: Tensor, step: int, place: int) -> Tensor:
    """Return the noise for a latent [1, C, H, W] or [1, C, T, H, W], fp32 on the CPU, of seed, step and place alone.

    With `frozen_noises` it is one of that many tensors that belong to this latent alone. The offset shifts each channel
    as a whole; multi-resolution noise adds coarser noise, enlarged, with less weight the coarser.
    """
    purpose: tuple[object, ...] = (step, place)
    if recipe.frozen_noises:
        chosen = float(uniform(1, recipe.seed, "frozen_noise", step, place)) * recipe.frozen_noises
        purpose = ("frozen", _content(latent), int(chosen))
    noise = normal(tuple(latent.shape), recipe.seed, "noise", *purpose)
    if recipe.multires_noise_iterations:
        noise = _multires(noise, recipe, purpose)
    if recipe.noise_offset:
        offset = normal((*noise.shape[:2], *(1,) * (noise.ndim - 2)), recipe.seed, "noise_offset", *purpose)
        noise = noise + recipe.noise_offset * offset
    return noise


def _content(latent: Tensor) -> str:
    return hashlib.sha256(latent.detach().cpu().float().numpy().tobytes()).hexdigest()


def _multires(noise: Tensor, recipe: Recipe, purpose: tuple[object, ...]) -> Tensor:
    """Return noise with coarser layers added, at unit variance (the pyramid noise of J. Whitaker, 2023)."""
    height, width = noise.shape[-2:]
    mixed = noise
    for level in range(1, recipe.multires_noise_iterations + 1):
        ratio = 2 + 2 * float(uniform(1, recipe.seed, "multires_ratio", *purpose, level))
        size = max(1, int(height / ratio**level)), max(1, int(width / ratio**level))
        coarse = normal((*noise.shape[:-2], *size), recipe.seed, "multires", *purpose, level)
        planes = coarse.flatten(1, -3)
        enlarged = torch.nn.functional.interpolate(planes, (height, width), mode="bilinear", align_corners=False)
        mixed = mixed + recipe.multires_noise_discount**level * enlarged.reshape(noise.shape)
        if size == (1, 1):
            break
    return mixed / mixed.std()
