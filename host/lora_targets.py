"""Which layers a LoRA can change on a MODEL and CLIP, under which names, in which shapes."""

from typing import Any

from .lora_keys import lora_names


def lora_targets(model: Any, clip: Any = None) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Return (shapes, known) of MODEL's diffusion model and, if one is given, of CLIP.

    shapes: the name a layer gets in a LoRA file -> its weight's shape (out, in, kernel...). known: every name under
    which ComfyUI's loader finds a layer -> its name in `shapes`.
    """
    import comfy.lora

    wanted = {f"diffusion_model.{path}.weight": name for path, name in lora_names(model).items()}
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    weights = _shapes(model.model, wanted)
    if clip is not None:
        text = comfy.lora.model_lora_keys_clip(clip.cond_stage_model, {})
        named = {key: name for name, key in text.items() if name.startswith("lora_te")}
        weights |= _shapes(clip.cond_stage_model, named)
        wanted, keys = wanted | named, keys | text
    names = {key: wanted[key] for key in weights}
    known = {name: names[key] for name, key in keys.items() if isinstance(key, str) and key in names}
    return {names[key]: shape for key, shape in weights.items()}, known


def _shapes(network: Any, wanted: dict[str, str]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each wanted weight of two dimensions or more, by its key."""
    modules = {f"{name}.weight": module for name, module in network.named_modules()}
    found = {key: getattr(modules.get(key), "weight", None) for key in wanted}
    return {key: tuple(weight.shape) for key, weight in found.items() if weight is not None and weight.dim() > 1}
