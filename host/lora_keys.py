"""What a layer is called in a LoRA file, and putting such a file on a MODEL the way ComfyUI does.

Which names every reader knows differs by family:

- UNets of SD1.x and SD2.x: diffusers' block names, `lora_unet_down_blocks_0_attentions_0_proj_in`. That is what
  kohya's trainer, which runs diffusers' UNet for them, has always written. The original names would be read too by
  ComfyUI, but diffusers takes the upsampler of a level without attention (`output_blocks.2.1.conv`) for an attention.
- SDXL: the original names, `lora_unet_input_blocks_4_1_proj_in`, which kohya's trainer, with a UNet of its own for
  SDXL, writes. ComfyUI and diffusers read them for every layer inside the blocks, and the first and last one.
- Diffusion transformers: `diffusion_model.` and the module's own path.
- Text encoders: kohya's `lora_te_` where there is one, `lora_te1_` (CLIP-L) and `lora_te2_` (CLIP-G) of SDXL,
  `lora_te1_` (CLIP-L) and `lora_te3_` (T5) of FLUX.1, and the path inside the encoder.
"""

from typing import Any

import torch


def lora_names(model: Any) -> dict[str, str]:
    """Return module path (inside the diffusion model) -> prefix in a LoRA file, for every layer with a weight.

    model: a MODEL, or the network class ComfyUI wraps in it.
    """
    network = getattr(model, "model", model)
    paths = [name for name, module in network.diffusion_model.named_modules() if _has_weight(module)]
    if "num_res_blocks" not in network.model_config.unet_config:
        return {path: f"diffusion_model.{path}" for path in paths}
    renamed = {} if _is_sdxl(network) else _diffusers_paths(network.model_config.unet_config)
    return {path: "lora_unet_" + renamed.get(path, path).replace(".", "_") for path in paths}


_TEXT_KEYS = ("lora_te", "text_encoder")
# The text encoders of a model, by ComfyUI's names -> what the keys of each begin with.
TEXT_PREFIXES = {
    ("clip_l",): ("lora_te_",),
    ("clip_l", "clip_g"): ("lora_te1_", "lora_te2_"),
    ("clip_l", "t5xxl"): ("lora_te1_", "lora_te3_"),
}


def text_lora_names(encoders: torch.nn.Module) -> dict[str, str]:
    """Return module path (inside a CLIP's `cond_stage_model`) -> prefix in a LoRA file, for every linear layer."""
    names = tuple(name for name, part in encoders.named_children() if hasattr(part, "transformer"))
    prefixes = dict(zip(names, TEXT_PREFIXES.get(names, ()), strict=False))
    return {
        path: prefixes[name] + path.removeprefix(f"{name}.transformer.").replace(".", "_")
        for name in prefixes
        for path, module in encoders.named_modules()
        if path.startswith(f"{name}.transformer.") and isinstance(module, torch.nn.Linear)
    }


def _has_weight(module: torch.nn.Module) -> bool:
    return isinstance(module, torch.nn.Linear | torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d)


def _is_sdxl(network: Any) -> bool:
    import comfy.model_base

    return isinstance(network, comfy.model_base.SDXL)


def _diffusers_paths(unet_config: dict[str, Any]) -> dict[str, str]:
    """Return ComfyUI's module path -> diffusers' module path."""
    import comfy.utils

    keys = comfy.utils.unet_to_diffusers(unet_config)
    weights = {ours: theirs for theirs, ours in keys.items() if ours.endswith(".weight")}
    return {ours.removesuffix(".weight"): theirs.removesuffix(".weight") for ours, theirs in weights.items()}


def apply_lora(
    model: Any, clip: Any, tensors: dict[str, torch.Tensor], strength_model: float, strength_clip: float
) -> tuple[Any, Any]:
    """Return (MODEL, CLIP) clones with the LoRA on them, by ComfyUI's own loader, as Load LoRA does; CLIP may be None.

    Raises ValueError naming keys when none or only some of the file's layers exist in the MODEL or CLIP.
    """
    import comfy.sd

    unmatched = unmatched_keys(model, clip, tensors)
    if unmatched:
        raise ValueError(_mismatch(type(model.model.model_config).__name__ + " model", tensors, unmatched))
    return comfy.sd.load_lora_for_models(model, clip, tensors, strength_model, strength_clip)


def apply_text_lora(clip: Any, tensors: dict[str, torch.Tensor], strength: float) -> Any:
    """Return a CLIP clone with what a LoRA holds for text encoders, as Load LoRA leaves it; a LoRA without, the CLIP.

    Raises ValueError as `apply_lora` does.
    """
    import comfy.sd

    own = {key: tensor for key, tensor in tensors.items() if key.startswith(_TEXT_KEYS)}
    if not own:
        return clip
    unmatched = unmatched_keys(None, clip, own)
    if unmatched:
        raise ValueError(_mismatch(type(clip.cond_stage_model).__name__, own, unmatched))
    return comfy.sd.load_lora_for_models(None, clip, own, 0.0, strength)[1]


def is_for_text_alone(tensors: dict[str, torch.Tensor]) -> bool:
    """Say whether a LoRA holds nothing for a MODEL; an empty one does not."""
    return all(key.startswith(_TEXT_KEYS) for key in tensors)


def unmatched_keys(model: Any, clip: Any, tensors: dict[str, torch.Tensor]) -> list[str]:
    """Return the file's keys that ComfyUI's loader would leave out on this MODEL and CLIP (None: not connected).

    Without a CLIP its keys (`lora_te...`, `text_encoders...`) are not missed, without a MODEL the others.
    """
    import comfy.lora
    import comfy.lora_convert

    key_map: dict[str, Any] = comfy.lora.model_lora_keys_unet(model.model, {}) if model is not None else {}
    if clip is not None:
        key_map = comfy.lora.model_lora_keys_clip(clip.cond_stage_model, key_map)
    prefixes = {f"{prefix}." for prefix in key_map}
    converted = comfy.lora_convert.convert_lora(dict(tensors))
    missed = [key for key in converted if not _is_known(key, prefixes)]
    return [key for key in missed if (clip if key.startswith(_TEXT_KEYS) else model) is not None]


def _is_known(key: str, prefixes: set[str]) -> bool:
    parts = key.split(".")
    return any(".".join(parts[:n]) + "." in prefixes for n in range(1, len(parts)))


def _mismatch(kind: str, tensors: dict[str, torch.Tensor], unmatched: list[str]) -> str:
    found = len(tensors) - len(unmatched)
    how_many = f"{found} of {len(tensors)}" if found else f"none of the {len(tensors)}"
    return (
        f"LoRA: got a file of which {how_many} keys exist in this {kind} "
        f"(for example {unmatched[0]} does not), allowed a LoRA of the same family, connect the model it was trained on"
    )
