"""Tiny models of ComfyUI's own classes with seeded random weights: every layer kind of the real ones, 0.1 s a step."""

from pathlib import Path
from typing import Any, Literal

import comfy.model_base
import comfy.model_patcher
import comfy.supported_models
import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP, VAE
from random_checkpoint import blurring_taesd, random_weights, write_random_checkpoint

Family = Literal["sd15", "sdxl", "flux"]

__all__ = ["Family", "tiny_clip", "tiny_flux", "tiny_sd15", "tiny_sdxl", "tiny_vae", "write_random_checkpoint"]
__all__ += ["random_demo_weights"]

CONTEXT_DIM = 64
SDXL_POOLED_DIM = 32
FLUX_POOLED_DIM = 32

_UNET: dict[str, Any] = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": CONTEXT_DIM,
    "use_spatial_transformer": True,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
    "use_checkpoint": False,
    "legacy": False,
}
_SD15 = _UNET | {"use_linear_in_transformer": False, "adm_in_channels": None}
_SDXL = _UNET | {
    "use_linear_in_transformer": True,
    "num_classes": "sequential",
    "adm_in_channels": SDXL_POOLED_DIM + 6 * 256,
    "transformer_depth": [0, 2],
    "transformer_depth_output": [0, 0, 2, 2],
    "transformer_depth_middle": 2,
}
_FLUX: dict[str, Any] = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "hidden_size": 64,
    "num_heads": 2,
    "axes_dim": [8, 12, 12],
    "mlp_ratio": 4.0,
    "theta": 10000,
    "qkv_bias": True,
    "txt_ids_dims": [],
    "context_in_dim": CONTEXT_DIM,
    "vec_in_dim": FLUX_POOLED_DIM,
    "depth": 2,
    "depth_single_blocks": 2,
    "guidance_embed": True,
}
_CLIP_L = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_hidden_layers": 3}
_T5 = {"d_model": CONTEXT_DIM, "d_kv": 16, "d_ff": 128, "num_heads": 4, "num_layers": 2}
_CLIP_CONFIGS: dict[Family, dict[str, dict[str, int]]] = {
    "sd15": {"clip_l_model_config": _CLIP_L},
    "sdxl": {
        "clip_l_model_config": _CLIP_L | {"hidden_size": CONTEXT_DIM - SDXL_POOLED_DIM},
        "clip_g_model_config": _CLIP_L | {"hidden_size": SDXL_POOLED_DIM},
    },
    "flux": {"clip_l_model_config": _CLIP_L | {"hidden_size": FLUX_POOLED_DIM}, "t5xxl_model_config": _T5},
}
_CONFIGS: dict[Family, tuple[type, dict[str, Any]]] = {
    "sd15": (comfy.supported_models.SD15, _SD15),
    "sdxl": (comfy.supported_models.SDXL, _SDXL),
    "flux": (comfy.supported_models.Flux, _FLUX),
}


def tiny_sd15(dtype: torch.dtype = torch.float32, v_prediction: bool = False, seed: int = 0) -> ModelPatcher:
    """Return a MODEL of ComfyUI's SD1.5 class (eps, or v if asked), 4 latent channels, context 64, 8 heads."""
    return _reloadable(_build, "sd15", dtype, v_prediction, seed)


def tiny_sdxl(dtype: torch.dtype = torch.float32, v_prediction: bool = False, seed: int = 0) -> ModelPatcher:
    """Return a MODEL of ComfyUI's SDXL class with size conditioning, 4 latent channels, context 64, pooled 32."""
    return _reloadable(_build, "sdxl", dtype, v_prediction, seed)


def tiny_flux(dtype: torch.dtype = torch.float32, seed: int = 0) -> ModelPatcher:
    """Return a MODEL of ComfyUI's Flux class (flow, guidance embedding), 16 latent channels, context 64, pooled 32."""
    return _reloadable(_build, "flux", dtype, False, seed)


def tiny_clip(family: Family, seed: int = 0, layers: int | None = None) -> CLIP:
    """Return a CLIP of ComfyUI's class for the family: real tokenizer, widths of the tiny model of that family.

    layers: of each encoder; None for as few as show everything.
    """
    with torch.random.fork_rng():
        model_class, unet_config = _CONFIGS[family]
        target = model_class(unet_config).clip_target(state_dict={})
        depth = {} if layers is None else {"num_hidden_layers": layers, "num_layers": layers}
        options = {name: config | depth for name, config in _CLIP_CONFIGS[family].items()} | {"dtype": torch.float32}
        clip = CLIP(target, model_options=options)
    clip.cond_stage_model.load_state_dict(random_weights(clip.cond_stage_model, seed))
    return clip


def tiny_vae(latent_channels: int = 4, seed: int = 0) -> VAE:
    """Return a VAE (TAESD class) with 4 (SD) or 16 (Flux) latent channels that keeps a blurred picture."""
    scale, shift = (0.18215, 0.0) if latent_channels == 4 else (0.3611, 0.1159)
    return VAE(sd=blurring_taesd(latent_channels, scale, shift, seed))


def random_demo_weights(path: Path, seed: int = 0) -> Path:
    """Write a file of the demo model with seeded random weights, for `load_demo_model`; returns `path`."""
    from glitch_lora.host import demo_model

    network, clip = demo_model.build_network(), demo_model.build_clip()
    parts = {"unet": network.diffusion_model, "clip": clip.cond_stage_model.clip_l.transformer}
    weights = {
        f"{part}.{name}": value
        for part, module in parts.items()
        for name, value in random_weights(module, seed, torch.float16).items()
    }
    demo_model.save_weights(path, weights, {"random": seed})
    return path


def _reloadable(build: Any, *arguments: Any) -> ModelPatcher:
    """Build a patcher that ComfyUI can build again for a private copy, as it can one that came from a file."""
    patcher = build(*arguments)
    patcher.cached_patcher_init = (build, arguments)
    return patcher


def _build(
    family: Family, dtype: torch.dtype, v_prediction: bool, seed: int, disable_dynamic: bool = False
) -> ModelPatcher:
    model_class, unet_config = _CONFIGS[family]
    config = model_class(unet_config)
    config.set_inference_dtype(dtype, None)
    with torch.random.fork_rng():
        if v_prediction:
            config.model_type = lambda *_: comfy.model_base.ModelType.V_PREDICTION
        model = config.get_model({}, device="cpu")
    weights = random_weights(model.diffusion_model, seed, dtype)
    model.diffusion_model.load_state_dict(weights)
    model.eval().requires_grad_(False)
    cpu = torch.device("cpu")
    patcher_class = ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    return patcher_class(model, load_device=cpu, offload_device=cpu)
