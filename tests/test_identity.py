"""The identity of MODEL, CLIP and VAE: the same after loading and cloning, another after any change that counts."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sd
import pytest
import torch
from adapters_for_tests import random_adapters
from comfy_extras.nodes_freelunch import FreeU_V2
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete, ModelSamplingFlux, RescaleCFG
from glitch_lora.host import identity
from glitch_lora.host.description import describe, fingerprint
from glitch_lora.host.identity import clip_identity, model_identity, vae_identity
from glitch_lora.host.lora_keys import apply_lora, lora_names
from glitch_lora.training.lora_file import lora_state_dict
from tiny_models import tiny_clip, tiny_flux, tiny_sd15, tiny_vae


def attention_lora(model: Any, seed: int = 1) -> dict[str, torch.Tensor]:
    """Return a LoRA file's tensors over a few layers."""
    layers = [name for name in lora_names(model) if name.endswith("attn1.to_q")]
    adapters = random_adapters(model, layers, rank=2, alpha=2.0, seed=seed)
    return lora_state_dict(adapters, lora_names(model), "kohya", torch.float32)


def same(first: Any, second: Any) -> bool:
    """Compare as the content key does: as JSON."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


def patched_one(result: Any) -> Any:
    """Return the MODEL a core node gave, V1 tuple or V3 NodeOutput."""
    return result[0] if isinstance(result, tuple) else result.args[0]


def test_loading_unloading_and_cloning_change_nothing() -> None:
    """Also with a LoRA merged into the weights in place, and when the hash is computed anew while it is."""
    model = tiny_sd15()
    plain = model_identity(model)
    with_lora = apply_lora(model, None, attention_lora(model), 1.0, 1.0)[0]
    changed = model_identity(with_lora)
    assert not same(plain, changed)
    for _ in range(2):
        comfy.model_management.load_models_gpu([with_lora], force_full_load=True)
        identity._TENSOR_HASHES.clear()
        assert model_identity(model) == plain == model_identity(model.clone())
        assert model_identity(with_lora) == changed == model_identity(with_lora.clone())
        comfy.model_management.unload_all_models()
        identity._TENSOR_HASHES.clear()
        assert model_identity(model) == plain


def test_equal_weights_are_the_same_and_others_are_not() -> None:
    """Two builds of the same seed in two objects, another seed, another dtype, one changed value."""
    plain = model_identity(tiny_sd15())
    assert same(model_identity(tiny_sd15()), plain)
    assert not same(model_identity(tiny_sd15(seed=1)), plain)
    assert not same(model_identity(tiny_sd15(dtype=torch.float16)), plain)
    nudged = tiny_sd15()
    next(nudged.model.diffusion_model.parameters()).data.view(-1)[0] += 1e-6
    assert not same(model_identity(nudged), plain)


def test_patches_count_by_content() -> None:
    """Same LoRA read twice: same; other strength, other factors, an added second one: other."""
    model = tiny_sd15()
    first, second = attention_lora(model), attention_lora(model, seed=9)

    def identity_with(tensors: Any, strength: float) -> Any:
        return model_identity(apply_lora(model, None, tensors, strength, 0.0)[0])

    reference = identity_with(first, 1.0)
    assert same(identity_with({name: part.clone() for name, part in first.items()}, 1.0), reference)
    assert not same(identity_with(first, 0.5), reference)
    assert not same(identity_with(second, 1.0), reference)
    twice = apply_lora(apply_lora(model, None, first, 1.0, 0.0)[0], None, first, 1.0, 0.0)[0]
    assert not same(model_identity(twice), reference)


def test_a_bypass_lora_counts_and_stays_the_same_while_injected() -> None:
    """Its hooks fill up when the model is used; that is load state, not content."""
    model = tiny_sd15()
    bypass, _ = comfy.sd.load_bypass_lora_for_models(model, None, attention_lora(model), 1.0, 0.0)
    before = model_identity(bypass)
    assert not same(before, model_identity(model))
    comfy.model_management.load_models_gpu([bypass], force_full_load=True)
    bypass.inject_model()
    assert same(model_identity(bypass), before)
    bypass.eject_model()
    assert same(model_identity(bypass), before)
    weaker, _ = comfy.sd.load_bypass_lora_for_models(model, None, attention_lora(model), 0.5, 0.0)
    assert not same(model_identity(weaker), before)


def test_sampling_nodes_count() -> None:
    """ModelSampling nodes: prediction type, zsnr, shift; also after loading has put the object in place."""
    model, flux = tiny_sd15(), tiny_flux()
    patch = ModelSamplingDiscrete().patch
    v = patched_one(patch(model, "v_prediction", False))
    seen = [model_identity(model), model_identity(v)]
    seen.append(model_identity(patched_one(patch(model, "v_prediction", True))))
    seen.append(model_identity(flux))
    for shift in (1.0, 2.0):
        seen.append(model_identity(patched_one(ModelSamplingFlux().patch(flux, shift, 0.5, 512, 512))))
    assert len({json.dumps(value, sort_keys=True) for value in seen}) == len(seen)
    assert "V_PREDICTION" in seen[1]["sampling"]["classes"]
    comfy.model_management.load_models_gpu([v], force_full_load=True)
    assert same(model_identity(v), seen[1])
    assert same(model_identity(model), seen[0]), "another clone's sampling object is in the shared network now"
    assert same(model_identity(patched_one(patch(model, "v_prediction", False))), seen[1])


def test_sampling_settings_without_end_are_json() -> None:
    """A content key refuses infinity as a number."""
    sampling = tiny_flux().model.model_sampling
    sampling.sigma_end = float("inf")
    assert identity.sampling_identity(sampling)["parameters"]["sigma_end"] == "inf"


def test_options_count_by_their_parameters() -> None:
    """FreeU and RescaleCFG keep their numbers in closures."""
    model = tiny_sd15()

    def free_u(b1: float) -> Any:
        return model_identity(patched_one(FreeU_V2.execute(model, b1, 1.4, 0.9, 0.2)))

    assert same(free_u(1.3), free_u(1.3))
    assert not same(free_u(1.3), free_u(1.2))
    rescaled = [model_identity(patched_one(RescaleCFG().patch(model, amount))) for amount in (0.5, 0.5, 0.7)]
    assert same(rescaled[0], rescaled[1])
    assert not same(rescaled[0], rescaled[2])


def test_clip_layer_patches_and_weights_count() -> None:
    """Clip skip, a LoRA, other weights; encoding changes nothing."""
    clip = tiny_clip("sd15")
    plain = clip_identity(clip)
    clip.encode_from_tokens_scheduled(clip.tokenize("a wall"))
    assert same(clip_identity(clip), plain)
    assert same(clip_identity(tiny_clip("sd15")), plain)
    skipped = clip.clone()
    skipped.clip_layer(-2)
    key = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    tensors = {f"{key}.lora_down.weight": torch.ones(1, 64), f"{key}.lora_up.weight": torch.ones(128, 1)}
    patched = apply_lora(tiny_sd15(), clip, tensors, 1.0, 1.0)[1]
    others = [skipped, patched, tiny_clip("sd15", seed=1), tiny_clip("sdxl")]
    assert all(not same(clip_identity(other), plain) for other in others)
    assert clip_identity(skipped)["layer"] == -2


def test_vae_weights_count() -> None:
    """Seeded alike: same; another seed, other channels: other; decoding changes nothing."""
    vae = tiny_vae()
    plain = vae_identity(vae)
    vae.decode(torch.zeros(1, 4, 4, 4))
    assert same(vae_identity(vae), plain)
    assert same(vae_identity(tiny_vae()), plain)
    assert not same(vae_identity(tiny_vae(seed=1)), plain)
    assert not same(vae_identity(tiny_vae(16)), plain)


@pytest.fixture
def text_encoder_file(tmp_path: Path) -> Path:
    """A small file that ComfyUI's CLIP loader reads, with only a few weights in it."""
    weights = {
        "text_model.encoder.layers.0.mlp.fc1.weight": torch.zeros(3072, 768),
        "text_model.encoder.layers.1.mlp.fc1.weight": torch.zeros(3072, 768),
    }
    from glitch_lora.training.lora_file import save_safetensors

    return save_safetensors(tmp_path / "deep" / "te.safetensors", weights, {})


def test_files_name_the_weights(text_encoder_file: Path, tmp_path: Path) -> None:
    """Base name, size, time and header; the folder does not count, an edited file does."""

    class Patcher:
        cached_patcher_init: Any = None
        patches: dict[str, Any] = {}

    def weights_of(path: Path, **options: Any) -> Any:
        patcher = Patcher()
        patcher.cached_patcher_init = (comfy.sd.load_diffusion_model, (str(path), options))
        return identity._weights(patcher, "")

    plain = weights_of(text_encoder_file)
    assert plain["files"][0]["name"] == "te.safetensors"
    assert str(tmp_path) not in json.dumps(plain)
    moved = tmp_path / "te.safetensors"
    shutil.copy2(text_encoder_file, moved)
    assert same(weights_of(moved), plain)
    assert not same(weights_of(moved, dtype=torch.float8_e4m3fn), plain)
    content = moved.read_bytes()
    status = moved.stat()
    moved.write_bytes(content.replace(b"layers.1", b"layers.2"))
    os.utime(moved, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not same(weights_of(moved), plain), "same size and time, other header"
    os.utime(text_encoder_file, ns=(1, 1))
    assert not same(weights_of(text_encoder_file), plain)


def test_a_core_loader_is_recognised(text_encoder_file: Path) -> None:
    """CLIPLoader's own function: named by its file, without hashing a weight."""
    clip = comfy.sd.load_clip([str(text_encoder_file)], embedding_directory=["/somewhere/else"])
    plain = clip_identity(clip)
    assert plain["weights"]["files"][0]["size"] == text_encoder_file.stat().st_size
    assert clip.patcher.model not in identity._TENSOR_HASHES
    again = comfy.sd.load_clip([str(text_encoder_file)], embedding_directory=["/moved"])
    assert same(clip_identity(again), plain)
    other = comfy.sd.load_clip([str(text_encoder_file)], clip_type=comfy.sd.CLIPType.SD3)
    assert not same(clip_identity(other), plain)


def test_tensor_hashes_are_remembered_weakly() -> None:
    """Once per network, shared by its clones, gone with it."""
    identity._TENSOR_HASHES.clear()
    model = tiny_sd15()
    model_identity(model)
    model_identity(model.clone())
    assert len(identity._TENSOR_HASHES) == 1
    comfy.model_management.unload_all_models()
    del model
    import gc

    gc.collect()
    assert len(identity._TENSOR_HASHES) == 0


class Holder:
    """An object such as a node hangs on a model: numbers, a callable, a network."""

    def __init__(self, amount: float) -> None:
        self.amount = amount
        self.function = lambda: None
        self.network = torch.nn.Linear(2, 2)

    def patch(self) -> float:
        """Be a bound method with a parameter in its object."""
        return self.amount


def test_descriptions_hold_no_addresses_and_see_parameters() -> None:
    """Objects, methods, cycles, arrays, paths."""
    import numpy as np

    assert fingerprint(Holder(1.0)) == fingerprint(Holder(1.0))
    assert fingerprint(Holder(1.0).patch) == fingerprint(Holder(1.0).patch) != fingerprint(Holder(2.0).patch)
    assert fingerprint(np.arange(3)) == fingerprint(np.arange(3)) != fingerprint(np.arange(4))
    assert describe("/home/me/model.safetensors") == "model.safetensors"
    assert fingerprint({"b": 1, "a": {2, 1}}) == fingerprint({"a": {1, 2}, "b": 1})
    cycle: list[Any] = [1]
    cycle.append(cycle)
    assert fingerprint(cycle) == fingerprint(cycle)
