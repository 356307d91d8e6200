"""LoRA files on ComfyUI: its own loader must do exactly what the definition of a LoRA says."""

from pathlib import Path
from typing import Any

import comfy.model_management
import pytest
import torch
from adapters_for_tests import merged_weight, random_adapters
from glitch_lora.host.families import family_of
from glitch_lora.host.lora_keys import apply_lora, lora_names, unmatched_keys
from glitch_lora.training.lora_file import FAMILY_WORDS, cast_lora, load_safetensors, lora_state_dict, save_safetensors
from tiny_models import tiny_clip, tiny_flux, tiny_sd15, tiny_sdxl

TINY = {"sd15": tiny_sd15, "sdxl": tiny_sdxl, "flux": tiny_flux}
BAR = 1e-5  # largest absolute difference of apply_model, fp32


def lora_for(model: Any, target_modules: str = "all-linear+conv", rank: int = 4, alpha: float = 2.0) -> Any:
    """Return (adapters, tensors of a LoRA file) over the layers of `target_modules`."""
    family = family_of(model)
    layers = family.layers(model.model.diffusion_model, target_modules)
    adapters = random_adapters(model, layers, rank, alpha)
    return adapters, lora_state_dict(adapters, lora_names(model), FAMILY_WORDS[family.name].style, torch.float32)


def apply_model(model: Any, family: str) -> torch.Tensor:
    """Return what the sampler sees of the network, for seeded inputs."""
    comfy.model_management.load_models_gpu([model], force_full_load=True)
    source = torch.Generator().manual_seed(5)
    channels = 16 if family == "flux" else 4
    inputs = {"c_crossattn": torch.randn(2, 9, 64, generator=source)}
    if family == "sdxl":
        inputs["y"] = torch.randn(2, 32 + 6 * 256, generator=source)
    if family == "flux":
        inputs |= {"y": torch.randn(2, 32, generator=source), "guidance": torch.tensor([3.5, 3.5])}
    x = torch.randn(2, channels, 8, 8, generator=source)
    # of size 1: the sampler multiplies the rounding error of the network by sigma
    sigma = torch.tensor([0.9, 0.3]) if family == "flux" else torch.tensor([1.0, 0.3])
    with torch.no_grad():
        return model.model.apply_model(x, sigma, **inputs)


def by_hand(family: str, adapters: Any) -> Any:
    """Return the same tiny MODEL, built again, whose weights are W + alpha / r * up @ down."""
    twin = TINY[family]()
    modules = dict(twin.model.diffusion_model.named_modules())
    for layer, adapter in adapters.items():
        modules[layer].weight.data = merged_weight(modules[layer].weight.data, adapter)
    return twin


@pytest.mark.parametrize("family", sorted(TINY))
def test_comfyui_loads_every_key_and_agrees_with_the_definition(family: str, tmp_path: Path) -> None:
    """Oracle: W + alpha / r * up @ down in float64, written out in the test."""
    model = TINY[family]()
    adapters, tensors = lora_for(model)
    path = save_safetensors(tmp_path / "lora.safetensors", tensors, {})
    base = apply_model(model, family)
    loaded, _ = apply_lora(model, None, load_safetensors(path)[0], 1.0, 1.0)
    assert set(loaded.patches) == {f"diffusion_model.{layer}.weight" for layer in adapters}
    ours = apply_model(loaded, family)
    wanted = apply_model(by_hand(family, adapters), family)
    assert (ours - base).abs().max() > 0.01, "the LoRA must do something"
    assert (ours - wanted).abs().max() <= BAR


def test_half_strength_is_half_the_change() -> None:
    """Oracle: the definition with alpha halved."""
    model = tiny_sd15()
    adapters, tensors = lora_for(model)
    halved = {layer: type(part)(part.down, part.up, part.alpha / 2) for layer, part in adapters.items()}
    ours = apply_model(apply_lora(model, None, tensors, 0.5, 0.0)[0], "sd15")
    assert (ours - apply_model(by_hand("sd15", halved), "sd15")).abs().max() <= BAR


@pytest.mark.parametrize("family", sorted(TINY))
def test_names_are_one_to_one(family: str) -> None:
    """No two layers share a name, and the naming is the family's."""
    names = lora_names(TINY[family]())
    assert len(set(names.values())) == len(names)
    shapes = {"sd15": "lora_unet_down_blocks_", "sdxl": "lora_unet_input_blocks_", "flux": "diffusion_model.double_"}
    assert any(name.startswith(shapes[family]) for name in names.values())


def test_a_lora_of_another_family_is_refused_by_name() -> None:
    """Nothing is loaded half: the error names a key, the class, and what to do."""
    _, tensors = lora_for(tiny_flux())
    with pytest.raises(ValueError, match=r"none of the \d+ keys.*diffusion_model\..*same family, connect"):
        apply_lora(tiny_sd15(), None, tensors, 1.0, 1.0)


def test_one_unknown_key_is_reported() -> None:
    """A single layer that is not there is told, not dropped."""
    model = tiny_sd15()
    _, tensors = lora_for(model, "attention")
    tensors["lora_unet_nowhere.lora_down.weight"] = torch.zeros(1, 1)
    assert unmatched_keys(model, None, tensors) == ["lora_unet_nowhere.lora_down.weight"]
    with pytest.raises(ValueError, match="lora_unet_nowhere"):
        apply_lora(model, None, tensors, 1.0, 1.0)


def test_text_encoder_keys_reach_the_clip() -> None:
    """Oracle: the patched CLIP's own patches; without a CLIP the keys are not missed."""
    model, clip = tiny_sd15(), tiny_clip("sd15")
    key = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    tensors = {
        f"{key}.lora_down.weight": torch.ones(1, 64),
        f"{key}.lora_up.weight": torch.ones(128, 1),
        f"{key}.alpha": torch.tensor(1.0),
    }
    _, patched = apply_lora(model, clip, tensors, 1.0, 1.0)
    assert list(patched.patcher.patches) == ["clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight"]
    assert clip.patcher.patches == {}
    assert apply_lora(model, None, tensors, 1.0, 1.0)[1] is None


def test_the_models_given_in_stay_as_they_are() -> None:
    """Applying makes clones."""
    model = tiny_sdxl()
    _, tensors = lora_for(model)
    before = apply_model(model, "sdxl")
    apply_model(apply_lora(model, None, tensors, 1.0, 1.0)[0], "sdxl")
    assert model.patches == {}
    assert torch.equal(apply_model(model, "sdxl"), before)


def test_other_dtypes_keep_alpha_exact() -> None:
    """Factors change their dtype, alpha does not lose a bit."""
    _, tensors = lora_for(tiny_sd15(), "attention", alpha=0.3)
    cast = cast_lora(tensors, torch.bfloat16)
    assert {cast[key].dtype for key in cast if not key.endswith(".alpha")} == {torch.bfloat16}
    assert {cast[key].item() for key in cast if key.endswith(".alpha")} == {torch.tensor(0.3).item()}
