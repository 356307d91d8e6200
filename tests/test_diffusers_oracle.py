"""Oracle: diffusers' own UNet, with the same weights, loads our LoRA file and gives the same output."""

from pathlib import Path
from typing import Any

import comfy.utils
import pytest
import torch
from adapters_for_tests import random_adapters, same_inputs
from glitch_lora.host.families import family_of
from glitch_lora.host.lora_keys import apply_lora, lora_names
from glitch_lora.training.lora_file import load_safetensors, lora_state_dict, save_safetensors
from tiny_models import tiny_sd15, tiny_sdxl

BAR = 1e-4  # largest absolute difference, fp32, outputs of size about 1

_TINY = {
    "sample_size": 8,
    "layers_per_block": 1,
    "block_out_channels": (64, 128),
    "cross_attention_dim": 64,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
}
_SD15: dict[str, Any] = _TINY | {
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 8,  # ComfyUI's SD15 always has 8 heads; diffusers calls the number of heads so
}
_SDXL: dict[str, Any] = _TINY | {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": (1, 2),  # ComfyUI's SDXL has heads of size 64
    "transformer_layers_per_block": (1, 2),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 32 + 6 * 256,
}


def twin_of(model: Any, settings: dict[str, Any]) -> Any:
    """Return diffusers' UNet with the weights of a ComfyUI UNet; every weight must find its place."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(**settings)
    wanted = unet.state_dict()
    weights = model.model.diffusion_model.state_dict()
    mapped = comfy.utils.unet_to_diffusers(model.model.model_config.unet_config)
    if "add_embedding.linear_1.weight" in wanted:
        pairs = {"linear_1": "0.0", "linear_2": "0.2"}
        mapped |= {f"add_embedding.{a}.{k}": f"label_emb.{b}.{k}" for a, b in pairs.items() for k in ("weight", "bias")}
    unet.load_state_dict({name: weights[mapped[name]] for name in wanted})
    return unet.eval()


def comfy_output(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the plain network's output, patches merged by ComfyUI."""
    comfy.model_management.load_models_gpu([model], force_full_load=True)
    with torch.no_grad():
        return model.model.diffusion_model(
            inputs["x"], timesteps=inputs["t"], context=inputs["context"], y=inputs.get("y")
        )


def diffusers_output(unet: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the twin's output for the same inputs."""
    extra = {"text_embeds": inputs["pooled"], "time_ids": inputs["time_ids"]} if "pooled" in inputs else None
    with torch.no_grad():
        return unet(inputs["x"], inputs["t"], inputs["context"], added_cond_kwargs=extra).sample


def mixin_for(family: str) -> Any:
    """Return the class of diffusers that loads LoRA files for the family's pipeline."""
    from diffusers import loaders

    return getattr(
        loaders, {"sd15": "StableDiffusionLoraLoaderMixin", "sdxl": "StableDiffusionXLLoraLoaderMixin"}[family]
    )


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_diffusers_reads_every_key_and_agrees(family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All linear and conv layers, random factors, alpha unequal to rank."""
    model = {"sd15": tiny_sd15, "sdxl": tiny_sdxl}[family]()
    unet = twin_of(model, {"sd15": _SD15, "sdxl": _SDXL}[family])
    inputs = same_inputs(family)
    base = comfy_output(model, inputs)
    assert (base - diffusers_output(unet, inputs)).abs().max() <= BAR, "the twins differ before any LoRA"

    layers = family_of(model).layers(model.model.diffusion_model, "all-linear+conv")
    adapters = random_adapters(model, layers, rank=4, alpha=2.0)
    path = tmp_path / "lora.safetensors"
    save_safetensors(
        path, lora_state_dict(adapters, lora_names(model), "kohya", torch.float32), {"ss_network_dim": "4"}
    )

    with_lora = comfy_output(apply_lora(model, None, load_safetensors(path)[0], 1.0, 1.0)[0], inputs)
    mixin = mixin_for(family)
    state, alphas = mixin.lora_state_dict(str(path), unet_config=unet.config)
    mixin.load_lora_into_unet(state, network_alphas=alphas, unet=unet)
    adapted = [name for name, module in unet.named_modules() if hasattr(module, "lora_A")]
    assert len(adapted) == len(adapters), "diffusers left layers of the file out"
    assert (with_lora - base).abs().max() > 0.05, "the LoRA must do something"
    assert (with_lora - diffusers_output(unet, inputs)).abs().max() <= BAR
    assert "unexpected" not in caplog.text.lower()


_FULL = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "use_spatial_transformer": True,
    "use_checkpoint": False,
    "legacy": False,
}
_FULL_SD15 = _FULL | {
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "transformer_depth_middle": 1,
    "context_dim": 768,
    "num_heads": 8,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
}
_FULL_SDXL = _FULL | {
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "transformer_depth": [0, 0, 2, 2, 10, 10],
    "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
    "transformer_depth_middle": 10,
    "context_dim": 2048,
    "num_head_channels": 64,
    "use_linear_in_transformer": True,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
}
_CROSS_DOWN, _CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
_FULL_TWINS: dict[str, dict[str, Any]] = {
    "sd15": {
        "cross_attention_dim": 768,
        "down_block_types": (_CROSS_DOWN, _CROSS_DOWN, _CROSS_DOWN, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", _CROSS_UP, _CROSS_UP, _CROSS_UP),
    },
    "sdxl": {
        "cross_attention_dim": 2048,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", _CROSS_DOWN, _CROSS_DOWN),
        "up_block_types": (_CROSS_UP, _CROSS_UP, "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}


def full_size_model(family: str) -> Any:
    """Return a stand-in for a MODEL with the real architecture on the meta device: shapes, no weights."""
    import comfy.supported_models

    config_class, config = {
        "sd15": (comfy.supported_models.SD15, _FULL_SD15),
        "sdxl": (comfy.supported_models.SDXL, _FULL_SDXL),
    }[family]
    model_config = config_class(dict(config))
    with torch.device("meta"):
        model = model_config.get_model({}, device="meta")
    return type("Model", (), {"model": model})()


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_names_of_the_full_architecture(family: str) -> None:
    """Every layer of the real SD1.5 and SDXL finds the diffusers layer of its own shape; ComfyUI knows every name."""
    import comfy.lora
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_lora_to_diffusers
    from diffusers.loaders.lora_conversion_utils import _maybe_map_sgm_blocks_to_diffusers as map_blocks
    from diffusers.utils import convert_unet_state_dict_to_peft

    model = full_size_model(family)
    layers = family_of(model).layers(model.model.diffusion_model, "all-linear+conv")
    modules = dict(model.model.diffusion_model.named_modules())
    adapters = {layer: random_adapter_like(modules[layer].weight.shape, number) for number, layer in enumerate(layers)}
    tensors = lora_state_dict(adapters, lora_names(model), "kohya", torch.float32)
    known = comfy.lora.model_lora_keys_unet(model.model, {})
    assert {known[key.split(".")[0]] for key in tensors} == {f"diffusion_model.{layer}.weight" for layer in layers}

    with torch.device("meta"):
        unet = UNet2DConditionModel(**_FULL_TWINS[family])
    twin_shapes = {name: module.weight.shape for name, module in unet.named_modules() if hasattr(module, "weight")}
    converted, alphas = _convert_non_diffusers_lora_to_diffusers(map_blocks(dict(tensors), unet.config))
    state = convert_unet_state_dict_to_peft({k.removeprefix("unet."): v for k, v in converted.items()})
    downs = {name.removesuffix(".lora_A.weight"): part for name, part in state.items() if ".lora_A." in name}
    mapped = comfy.utils.unet_to_diffusers(model.model.model_config.unet_config)
    assert len(downs) == len(alphas) == len(layers) > 250
    for name, down in downs.items():
        ours = mapped[f"{name}.weight"].removesuffix(".weight")
        assert torch.equal(down, adapters[ours].down), f"{name} got another layer's factors"
        assert twin_shapes[name] == modules[ours].weight.shape


def random_adapter_like(shape: torch.Size, number: int) -> Any:
    """Return rank-1 factors for a weight of this shape, different for each number."""
    from glitch_lora.training.lora_file import Adapter

    ones = [1] * (len(shape) - 2)
    return Adapter(torch.full((1, *shape[1:]), float(number)), torch.ones(shape[0], 1, *ones), 1.0)
