"""The private copy a training works on, against the host's own model.

Oracles: ComfyUI's own sampling function (`comfy.samplers.sampling_function`, what KSampler calls) for the forward, its
own LoRA loader for baked patches, hashes of the tensors for "what goes in unchanged comes out unchanged".
"""

import copy
from collections.abc import Iterator
from typing import Any

import comfy.model_management
import comfy.samplers
import comfy.sd
import pytest
import torch
from glitch_lora.host.encoding import encode_text
from glitch_lora.host.identity import hash_tensors
from glitch_lora.host.lora_keys import lora_names
from glitch_lora.host.models import TrainingModel, private_model
from glitch_lora.training.conditioning import SizeConditioning
from tiny_models import tiny_clip, tiny_flux, tiny_sd15, tiny_sdxl
from training_scene import MODELS

CHANNELS = {"sd15": 4, "sdxl": 4, "flux": 16}
LONG = "a photograph of a cat, sitting on a chair, " * 20  # several 77-token windows


@pytest.fixture(autouse=True)
def nothing_left_loaded() -> Iterator[None]:
    yield
    assert comfy.model_management.in_training is False
    comfy.model_management.unload_all_models()


def noisy(family: str, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn((1, CHANNELS[family], 8, 8), generator=torch.Generator().manual_seed(seed), dtype=dtype)


def as_sampled(patcher: Any, x_t: torch.Tensor, sigma: torch.Tensor, clip: Any, text: str) -> torch.Tensor:
    """What KSampler would compute for this text at CFG 1."""
    comfy.model_management.load_models_gpu([patcher])
    patcher.pre_run()
    conds = {"positive": comfy.sampler_helpers.convert_cond(clip.encode_from_tokens_scheduled(clip.tokenize(text)))}
    conds = comfy.samplers.process_conds(patcher.model, x_t, conds, x_t.device, None, None, 0)
    return comfy.samplers.sampling_function(
        patcher.model, x_t, sigma, None, conds["positive"], 1.0, model_options=patcher.model_options
    )


@pytest.mark.parametrize("family", MODELS)
def test_forward_and_conditioning_equal_the_stock_samplers(family: str) -> None:
    model, clip = MODELS[family](), tiny_clip(family)
    for text in ("a cat", LONG):
        x_t = noisy(family, 1)
        with torch.inference_mode():
            sigma = model.get_model_object("model_sampling").sigmas[400:401].clone()
            stock = as_sampled(model, x_t, sigma, clip, text)
        with private_model(model) as copy_, torch.no_grad():
            copy_.load()
            # the stock text path gives the picture's own size as SDXL's size conditioning
            conditions = copy_.conditions(encode_text(clip, text), x_t, SizeConditioning((64, 64), (0, 0), (64, 64)))
            with copy_.training(gradient_checkpointing=True):
                ours = copy_.denoise(x_t, sigma.clone(), [conditions])
        assert (ours - stock).abs().max() <= 1e-5
        assert stock.std() > 0.01


@pytest.mark.parametrize("family", MODELS)
def test_a_batch_of_unequal_captions_equals_its_single_items(family: str) -> None:
    clip = tiny_clip(family)
    with private_model(MODELS[family]()) as model, torch.no_grad():
        model.load()
        x_t = torch.cat([noisy(family, seed) for seed in range(3)])
        sigma = model.sigma_at(torch.tensor([0.2, 0.5, 0.8]))
        sizes = [SizeConditioning((640, 480), (8, 0), (64, 64)), *[SizeConditioning((64, 64), (0, 0), (64, 64))] * 2]
        texts = ["a cat", LONG, "a photograph, coffee, " * 12]
        conditions = [
            model.conditions(encode_text(clip, text), x_t[:1], size) for text, size in zip(texts, sizes, strict=True)
        ]
        together = model.denoise(x_t, sigma, conditions)
        alone = torch.cat([model.denoise(x_t[i : i + 1], sigma[i : i + 1], [conditions[i]]) for i in range(3)])
        assert (together - alone).abs().max() <= 2e-5 * alone.abs().max()
        swapped = model.denoise(x_t, sigma, [conditions[1], conditions[0], conditions[2]])
        assert (swapped - together).abs().max() > 1e-4, "the captions must matter"


def test_sdxl_size_conditioning_is_each_pictures_own() -> None:
    clip = tiny_clip("sdxl")
    with private_model(tiny_sdxl()) as model:
        text = encode_text(clip, "a cat")
        latent = noisy("sdxl", 0)
        a = model.conditions(text, latent, SizeConditioning((4961, 3508), (12, 34), (512, 512)))["y"].cond
        # Oracle: the host's CLIPTextEncodeSDXL puts these numbers into the CONDITIONING, and its model embeds them.
        cond = {
            "pooled_output": text.extras["pooled_output"],
            "width": 4961,
            "height": 3508,
            "crop_w": 12,
            "crop_h": 34,
            "target_width": 512,
            "target_height": 512,
        }
        stock = model.patcher.model.encode_adm(**cond, device=latent.device)
        assert torch.equal(a.cpu(), stock.cpu())
        b = model.conditions(text, latent, SizeConditioning((512, 512), (0, 0), (512, 512)))["y"].cond
        assert not torch.equal(a, b)


def random_lora(model: Any, scale: float = 0.3) -> dict[str, torch.Tensor]:
    """A LoRA file's tensors on the attention layers, large enough to see."""
    generator = torch.Generator().manual_seed(3)
    tensors: dict[str, torch.Tensor] = {}
    for path, name in lora_names(model).items():
        if ".attn" not in path and "_attn." not in path:
            continue
        out, into = model.model.diffusion_model.get_submodule(path).weight.shape
        prefix = name
        tensors[f"{prefix}.lora_down.weight"] = torch.randn(2, into, generator=generator) * scale
        tensors[f"{prefix}.lora_up.weight"] = torch.randn(out, 2, generator=generator) * scale
    return tensors


@pytest.mark.parametrize("family", MODELS)
def test_loras_on_the_model_are_baked_in(family: str) -> None:
    model, clip = MODELS[family](), tiny_clip(family)
    patched, _ = comfy.sd.load_lora_for_models(model, None, random_lora(model), 0.8, 0.0)
    x_t = noisy(family, 2)
    with torch.inference_mode():
        sigma = model.get_model_object("model_sampling").sigmas[300:301].clone()
        stock = as_sampled(patched, x_t, sigma, clip, "a cat")
        plain = as_sampled(model, x_t, sigma, clip, "a cat")
    with private_model(patched) as copy_, torch.no_grad():
        copy_.load()
        conditions = copy_.conditions(encode_text(clip, "a cat"), x_t, SizeConditioning((64, 64), (0, 0), (64, 64)))
        ours = copy_.denoise(x_t, sigma.clone(), [conditions])
        assert not copy_.patcher.patches and not copy_.patcher.backup
    assert (ours - stock).abs().max() <= 1e-5
    assert (plain - stock).abs().max() > 1e-3


def test_a_model_that_cannot_be_reloaded_is_copied() -> None:
    model, clip = tiny_sd15(), tiny_clip("sd15")
    model.cached_patcher_init = None
    patched, _ = comfy.sd.load_lora_for_models(model, None, random_lora(model), 0.8, 0.0)
    x_t = noisy("sd15", 2)
    with torch.inference_mode():
        sigma = model.get_model_object("model_sampling").sigmas[300:301].clone()
        stock = as_sampled(patched, x_t, sigma, clip, "a cat")  # leaves the patches merged into the weights
    before = hash_tensors(model.model.state_dict())
    with private_model(patched) as copy_, torch.no_grad():
        copy_.load()
        conditions = copy_.conditions(encode_text(clip, "a cat"), x_t, SizeConditioning((64, 64), (0, 0), (64, 64)))
        ours = copy_.denoise(x_t, sigma.clone(), [conditions])
        assert copy_.patcher.model is not model.model
        for parameter in copy_.network.parameters():
            parameter.data.add_(1.0)
    assert (ours - stock).abs().max() <= 1e-5
    with torch.inference_mode():
        again = as_sampled(patched, x_t, sigma, clip, "a cat")
    assert torch.equal(again, stock)
    assert hash_tensors(model.model.state_dict()) == before


def test_weights_made_under_inference_mode_become_trainable_ones() -> None:
    with torch.inference_mode():
        model = tiny_sd15()
        model.cached_patcher_init = None
        assert next(model.model.parameters()).is_inference()
        with private_model(model) as copy_:
            assert not any(p.is_inference() for p in copy_.patcher.model.parameters())
            assert not any(b.is_inference() for b in copy_.patcher.model.buffers())


def test_an_unload_between_two_forwards_changes_nothing() -> None:
    clip = tiny_clip("sd15")
    with private_model(tiny_sd15()) as model, torch.no_grad():
        x_t, sigma = noisy("sd15", 0), model.sigma_at(torch.tensor([0.5]))
        conditions = [model.conditions(encode_text(clip, "a cat"), x_t, SizeConditioning((64, 64), (0, 0), (64, 64)))]
        model.load()
        before = model.denoise(x_t, sigma, conditions)
        comfy.model_management.unload_all_models()
        model.load()
        assert torch.equal(model.denoise(x_t, sigma, conditions), before)


def test_the_copy_leaves_the_list_of_loaded_models_and_flags_after_an_error() -> None:
    with pytest.raises(KeyError, match="mid-way"), private_model(tiny_flux()) as model:
        model.load()
        with model.training(gradient_checkpointing=True):
            assert comfy.model_management.in_training is True
            raise KeyError("mid-way")
    assert comfy.model_management.in_training is False
    assert not any(entry.model is model.patcher for entry in comfy.model_management.current_loaded_models)
    assert not any("forward" in block.__dict__ for block in model.network.modules())


def test_a_sampling_node_on_the_model_counts() -> None:
    """ModelSamplingDiscrete (v-prediction, zero terminal SNR) on the MODEL decides what is trained."""
    from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

    model = ModelSamplingDiscrete().patch(tiny_sd15(), "v_prediction", True)[0]
    with private_model(model) as copy_:
        assert copy_.prediction == "v_prediction"
        assert copy_.sampling is model.get_model_object("model_sampling")
        assert copy_.sigma_at(torch.tensor([0.9999])) > 1000  # rescaled to zero terminal SNR


def test_families_and_samplings_without_a_gradient_test_are_refused_by_name() -> None:
    from comfy_extras.nodes_model_advanced import ModelSamplingContinuousEDM

    other = copy.copy(tiny_sd15())
    other.model = copy.copy(other.model)
    other.model.model_config = type("Lumina2", (), {})()
    with pytest.raises(ValueError, match=r"Lumina2 model, allowed .*FLUX.*Stable Diffusion"), private_model(other):
        pass
    edm = ModelSamplingContinuousEDM().patch(tiny_sd15(), "edm", 120.0, 0.002)[0]
    with pytest.raises(ValueError, match="allowed epsilon"), private_model(edm):
        pass
    inpainting = tiny_sd15()
    inpainting.model.set_inpaint()
    control = tiny_flux()  # shaped like the Canny and Depth checkpoints: the control picture doubles the channels
    control.model.model_config.unet_config = control.model.model_config.unet_config | {"in_channels": 32}
    for refused in (inpainting, control):
        with pytest.raises(ValueError, match="inpainting or control"), private_model(refused):
            pass


def test_half_precision_keeps_fp32_adapters_and_a_close_forward() -> None:
    from glitch_lora.training.adapters import LoraAdapters

    clip = tiny_clip("sd15")
    x_t = noisy("sd15", 0)
    outputs = {}
    for precision in ("fp32", "bf16"):
        with private_model(tiny_sd15(), precision) as model, torch.no_grad():
            adapters = LoraAdapters(model.network, model.layers("all-linear"), rank=2, alpha=2.0, dropout=0, seed=0)
            assert {p.dtype for p in adapters.named_parameters().values()} == {torch.float32}
            model.load()
            text = encode_text(clip, "a cat")
            conditions = [model.conditions(text, x_t, SizeConditioning((64, 64), (0, 0), (64, 64)))]
            outputs[precision] = model.denoise(x_t, model.sigma_at(torch.tensor([0.5])), conditions)
    error = (outputs["fp32"] - outputs["bf16"]).abs().max() / outputs["fp32"].abs().max()
    assert 0 < error < 0.03  # bf16 has 8 bits of mantissa


def test_adapted_layers_are_the_named_ones() -> None:
    with private_model(tiny_sd15()) as model:
        attention = model.layers("attention")
        everything = model.layers("all-linear+conv")
        assert attention and all(".attn" in path for path in attention)
        assert set(attention) < set(model.layers("attention+ff")) < set(model.layers("all-linear")) < set(everything)
        assert not [path for path in everything if path.startswith(("time_embed", "label_emb"))]
        assert isinstance(model, TrainingModel)


@pytest.mark.parametrize("family", MODELS)
def test_attention_is_torchs_own_whatever_the_host_runs_on(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flash and sage kernels have no backward; torch's scaled_dot_product_attention has one on every device."""
    from glitch_lora.host import models

    calls: list[int] = []
    real = models.attention_pytorch
    monkeypatch.setattr(models, "attention_pytorch", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    clip = tiny_clip(family)
    with private_model(MODELS[family]()) as model, torch.no_grad():
        model.load()
        x_t, sigma = noisy(family, 0), model.sigma_at(torch.tensor([0.5]))
        size = SizeConditioning((64, 64), (0, 0), (64, 64))
        model.denoise(x_t, sigma, [model.conditions(encode_text(clip, "a cat"), x_t, size)])
        names = [type(module).__name__ for module in model.network.modules()]
    expected = names.count("CrossAttention") + names.count("DoubleStreamBlock") + names.count("SingleStreamBlock")
    assert len(calls) == expected > 0
