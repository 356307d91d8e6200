"""Random adapters and network inputs that the LoRA file tests share."""

from typing import Any

import torch
from glitch_lora.training.lora_file import Adapter


def random_adapters(model: Any, layers: list[str], rank: int, alpha: float, seed: int = 1) -> dict[str, Adapter]:
    """Return seeded factors for each layer, scaled so that the network's output moves by about 0.1 to 1."""
    source = torch.Generator().manual_seed(seed)
    modules = dict(model.model.diffusion_model.named_modules())
    return {layer: _random_adapter(modules[layer].weight, rank, alpha, source) for layer in layers}


def _random_adapter(weight: torch.Tensor, rank: int, alpha: float, source: torch.Generator) -> Adapter:
    inputs = weight[0].numel()
    down = torch.randn(rank, *weight.shape[1:], generator=source) / inputs**0.5
    up = torch.randn(weight.shape[0], rank, *[1] * (weight.dim() - 2), generator=source) * 0.1
    return Adapter(down, up, alpha)


def merged_weight(weight: torch.Tensor, adapter: Adapter) -> torch.Tensor:
    """Return W + alpha / r * up @ down, written out by hand: the definition of a LoRA."""
    rank = adapter.down.shape[0]
    delta = adapter.up.reshape(-1, rank).double() @ adapter.down.reshape(rank, -1).double()
    return (weight.double() + adapter.alpha / rank * delta.reshape(weight.shape)).to(weight.dtype)


def same_inputs(family: str, seed: int = 2) -> dict[str, torch.Tensor]:
    """Return seeded inputs of the plain UNet: x, t, context; for SDXL also y and what diffusers makes it from."""
    source = torch.Generator().manual_seed(seed)
    inputs = {
        "x": torch.randn(2, 4, 8, 8, generator=source),
        "t": torch.tensor([500.0, 20.0]),
        "context": torch.randn(2, 9, 64, generator=source),
    }
    if family == "sdxl":
        from comfy.ldm.modules.diffusionmodules.openaimodel import Timestep

        inputs["pooled"] = torch.randn(2, 32, generator=source)
        inputs["time_ids"] = torch.tensor([[64.0, 96, 0, 8, 64, 64], [128, 64, 4, 0, 64, 64]])
        embedded = Timestep(256)(inputs["time_ids"].flatten()).reshape(2, -1)
        inputs["y"] = torch.cat([inputs["pooled"], embedded], dim=1)
    return inputs
