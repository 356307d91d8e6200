"""The weights nodes and Bend Model among ComfyUI's own, in process and on a real server.

Oracles: ComfyUI's Load LoRA Model, Save LoRA Weights, Load LoRA and KSampler; and W + strength * alpha / r * up @ down,
written out here.
"""

from typing import Any

import comfy.lora
import comfy.utils
import numpy as np
import pytest
import torch
from comfy_extras.nodes_train import LoraModelLoader
from comfy_server import ComfyServer, PromptError
from glitch_lora.glitch.loras.bending import bend_lora
from glitch_lora.glitch.registry import all_operations
from glitch_lora.host.families import family_of
from glitch_lora.host.lora_keys import lora_names
from glitch_lora.training.lora_file import (
    FAMILY_WORDS,
    check_safetensors,
    load_safetensors,
    lora_state_dict,
    save_safetensors,
)
from glitch_lora.training.run import RunWriter, content_key
from PIL import Image
from tiny_models import tiny_flux, tiny_sd15, tiny_sdxl, write_random_checkpoint

pytestmark = pytest.mark.xdist_group("server")


def family_lora(model: Any, dtype: torch.dtype = torch.float32) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return (LORA_MODEL over all layers, weight key by name in the file)."""
    from adapters_for_tests import random_adapters

    family = family_of(model)
    layers = family.layers(model.model.diffusion_model, "all-linear+conv")
    names = lora_names(model)
    adapters = random_adapters(model, layers, 4, 2.0)
    tensors = lora_state_dict(adapters, names, FAMILY_WORDS[family.name].style, dtype)
    return tensors, {names[layer]: f"diffusion_model.{layer}.weight" for layer in layers}


@pytest.mark.parametrize("make", [tiny_sd15, tiny_sdxl, tiny_flux])
def test_comfyui_puts_every_bent_lora_on_a_model_as_defined(make: Any) -> None:
    """Every operation: the patched weights are base + strength * alpha / r * up @ down of the bent file."""
    model = make()
    lora, keys = family_lora(model)
    for operation in all_operations("loras"):
        bent = bend_lora(lora, operation.name, {}, seed=3).tensors
        loaded = LoraModelLoader.execute(model, bent, 0.7).result[0]
        assert set(loaded.patches) == set(keys.values())
        for name, key in list(keys.items())[::7]:
            weight = comfy.utils.get_attr(model.model, key)
            patched = comfy.lora.calculate_weight(loaded.patches[key], weight.clone(), key)
            assert torch.allclose(patched, weight + 0.7 * _delta(bent, name).reshape(weight.shape), atol=1e-4), name
    assert model.patches == {}


def _delta(tensors: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    dotted = f"{name}.lora_B.weight" in tensors
    up = tensors[f"{name}.lora_B.weight" if dotted else f"{name}.lora_up.weight"].double().flatten(1)
    down = tensors[f"{name}.lora_A.weight" if dotted else f"{name}.lora_down.weight"].double().flatten(1)
    return (tensors[f"{name}.alpha"].item() / down.shape[0] * (up @ down)).float()


def test_half_precision_stays_half_precision() -> None:
    lora, _ = family_lora(tiny_sd15(), torch.float16)
    bent = bend_lora(lora, "lora_spectrum", {}).tensors
    assert {key: tensor.dtype for key, tensor in bent.items()} == {key: tensor.dtype for key, tensor in lora.items()}


# On a real server


def node(kind: str, inputs: dict[str, Any] | None = None, **links: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": (inputs or {}) | links}


@pytest.fixture(scope="module")
def shapes(server: ComfyServer) -> dict[str, int]:
    """Write the checkpoint; return the widths of its two layers."""
    path = server.base / "models" / "checkpoints" / "small.safetensors"
    write_random_checkpoint(path)
    header = check_safetensors(path)
    return {key: entry["shape"][0] for key, entry in header.items() if key.endswith("attn1.to_q.weight")}


@pytest.fixture(scope="module")
def run_name(server: ComfyServer, shapes: dict[str, int]) -> str:
    loras = server.base / "models" / "loras"
    loras.mkdir(parents=True, exist_ok=True)
    writer = RunWriter.create(
        server.base / "output" / "glitch_lora", content_key("bend"), "bend", {"trigger": "gl1tch"}
    )
    for step in (10, 20):
        writer.save_checkpoint(step, fitting(step, shapes), {"ss_steps": str(step)})
    save_safetensors(loras / "plain.safetensors", fitting(10, shapes), {"glitch_lora.trigger": "prtkl"})
    return writer.run.folder.name


def fitting(seed: int, shapes: dict[str, int]) -> dict[str, torch.Tensor]:
    """Return a LoRA of two attention layers of the checkpoint, by the names every reader knows."""
    source = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, size in list(shapes.items())[:2]:
        name = "lora_unet_" + key.removeprefix("model.diffusion_model.").removesuffix(".weight").replace(".", "_")
        tensors[f"{name}.lora_down.weight"] = torch.randn(4, size, generator=source) * 0.1
        tensors[f"{name}.lora_up.weight"] = torch.randn(size, 4, generator=source)
        tensors[f"{name}.alpha"] = torch.tensor(4.0)
    return tensors


BASE = {"base": node("CheckpointLoaderSimple", {"ckpt_name": "small.safetensors"})}
NOISE = {
    "operation": "lora_noise",
    "operation.amount": 0.5,
    "operation.density": 1.0,
    "severity": 0.8,
    "norm_match": True,
    "only_blocks": "",
    "seed": 5,
}
BEND = {
    "operation": "activation_roll",
    "operation.axis": "rows",
    "operation.fraction": 0.5,
    "severity": 1.0,
    "layers": "output",
    "layers.first": 0,
    "layers.last": -1,
    "site": "block output",
    "start_percent": 0.0,
    "end_percent": 1.0,
    "fraction": 0.5,
    "seed": 1,
}


def loaded(run: str) -> dict[str, Any]:
    opened = node("GlitchOpenRun", {"run_name": run, "checkpoints": "all", "include_base": True})
    return {
        "open": opened,
        "load": node("GlitchLoadLora", {"source": "run", "source.step": -1, "source.run": ["open", 0]}),
        "file": node("GlitchLoadLora", {"source": "file", "source.lora_name": "plain.safetensors"}),
    }


def pictures(**models: list[Any]) -> dict[str, Any]:
    """Return the stock nodes that draw and save one small picture with each MODEL."""
    settings = {"seed": 3, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    nodes = {
        "text": node("CLIPTextEncode", {"text": "a street"}, clip=["base", 1]),
        "empty": node("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
    }
    for name, model in models.items():
        links = {"model": model, "positive": ["text", 0], "negative": ["text", 0], "latent_image": ["empty", 0]}
        nodes[f"sample {name}"] = node("KSampler", settings, **links)
        nodes[f"decode {name}"] = node("VAEDecode", samples=[f"sample {name}", 0], vae=["base", 2])
        nodes[f"draw {name}"] = node("SaveImage", {"filename_prefix": name}, images=[f"decode {name}", 0])
    return nodes


def pixels(server: ComfyServer, entry: dict[str, Any], name: str) -> np.ndarray:
    (found,) = entry["outputs"][f"draw {name}"]["images"]
    return np.asarray(Image.open(server.base / "output" / found["subfolder"] / found["filename"])).astype(int)


def test_bent_loras_go_through_comfyuis_own_nodes(server: ComfyServer, run_name: str) -> None:
    """Load LoRA Model draws with them what Load LoRA draws with the file that Save LoRA Weights wrote of them."""
    stock = {"strength_model": 1.0, "bypass": False}
    prompt = BASE | loaded(run_name) | {
        "bend": node("GlitchBendLora", NOISE, lora=["load", 0]),
        "bent": node("LoraModelLoader", stock, model=["base", 0], lora=["bend", 0]),
        "straight": node("LoraModelLoader", stock, model=["base", 0], lora=["load", 0]),
        "save": node("SaveLoRA", {"prefix": "loras/bent"}, lora=["bend", 0]),
        "report": node("PreviewAny", source=["bend", 1]),
        "trigger": node("PreviewAny", source=["load", 1]),
        "trigger of file": node("PreviewAny", source=["file", 1]),
        "contents": node("PreviewAny", source=["load", 2]),
    }  # fmt: skip
    entry = server.queue(prompt | pictures(bent=["bent", 0], straight=["straight", 0], plain=["base", 0]))
    shown = {name: entry["outputs"][name]["text"][0] for name in ("report", "trigger", "trigger of file", "contents")}
    assert shown["trigger"] == "gl1tch" and shown["trigger of file"] == "prtkl"
    assert "2 layers (2 of rank 4)" in shown["contents"]
    assert "lora_noise at severity 0.8, seed 5, norms matched" in shown["report"]
    assert "over 2 of 2 layers" in shown["report"]
    first, second, third = (pixels(server, entry, name) for name in ("bent", "straight", "plain"))
    assert np.abs(first - second).max() > 2 and np.abs(second - third).max() > 2

    (saved,) = (server.base / "output" / "loras").glob("bent*.safetensors")
    assert (
        load_safetensors(saved)[0].keys() == load_safetensors(server.base / "models/loras/plain.safetensors")[0].keys()
    )
    stock = {"lora_name": saved.name, "strength_model": 1.0, "strength_clip": 1.0}
    load = node("LoraLoader", stock, model=["base", 0], clip=["base", 1])
    entry = server.queue(BASE | {"native": load} | pictures(native=["native", 0]))
    assert np.array_equal(pixels(server, entry, "native"), first)
    assert "lora key not loaded" not in server.log


def test_blending_and_transplanting(server: ComfyServer, run_name: str) -> None:
    """t = 1 of a line from one LoRA to another draws as the other; a transplant home draws as it did."""
    common = {"rank": 0, "only_blocks": ""}
    line = common | {"method": "extrapolate", "method.t": 1.0}
    total = common | {"method": "weighted sum"} | {f"method.weight_{letter}": 1.0 for letter in "abcd"}
    stock = {"strength_model": 1.0, "bypass": False}
    prompt = BASE | loaded(run_name) | {
        "line": node("GlitchBlendLoras", line, lora_a=["file", 0], lora_b=["load", 0]),
        "sum": node("GlitchBlendLoras", total, lora_a=["file", 0], lora_b=["load", 0], lora_d=["load", 0]),
        "home": node(
            "GlitchTransplantLora", {"fit": "exact only", "keep_norm": True}, lora=["load", 0], model=["base", 0]
        ),
        "with line": node("LoraModelLoader", stock, model=["base", 0], lora=["line", 0]),
        "with home": node("LoraModelLoader", stock, model=["base", 0], lora=["home", 0]),
        "with load": node("LoraModelLoader", stock, model=["base", 0], lora=["load", 0]),
        "home report": node("PreviewAny", source=["home", 1]),
        "sum report": node("PreviewAny", source=["sum", 1]),
    }  # fmt: skip
    models = {name: [f"with {name}", 0] for name in ("line", "home", "load")}
    entry = server.queue(prompt | pictures(**models))
    assert entry["outputs"]["home report"]["text"][0].startswith("Applied 2 of 2 layers: 2 exact")
    assert "weighted sum of 3 LoRAs" in entry["outputs"]["sum report"]["text"][0]
    wanted = pixels(server, entry, "load")
    assert np.array_equal(pixels(server, entry, "home"), wanted)
    assert np.abs(pixels(server, entry, "line") - wanted).max() <= 1


def test_a_bent_model_draws_otherwise_and_the_plain_one_as_before(server: ComfyServer, run_name: str) -> None:
    """One graph with the plain MODEL, a bent one, the same twice bent, and one bent by nothing; then plain again."""
    attention = BEND | {"site": "attention", "site.part": "value", "site.attention": "self", "layers": "all"}
    prompt = BASE | {
        "one": node("GlitchBendModel", BEND, model=["base", 0]),
        "two": node("GlitchBendModel", attention, model=["one", 0]),
        "none": node("GlitchBendModel", BEND | {"severity": 0.0}, model=["base", 0]),
        "report": node("PreviewAny", source=["one", 1]),
    }
    models = {name: [name, 0] for name in ("one", "two", "none")}
    entry = server.queue(prompt | pictures(**models, before=["base", 0]))
    report = entry["outputs"]["report"]["text"][0]
    assert "activation_roll on block output of 4 blocks" in report and "output_blocks.3" in report
    plain, once, twice, still = (pixels(server, entry, name) for name in ("before", "one", "two", "none"))
    assert np.array_equal(plain, still)
    assert np.abs(once - plain).max() > 2 and np.abs(twice - once).max() > 0
    again = server.queue(BASE | pictures(after=["base", 0]))
    assert np.array_equal(pixels(server, again, "after"), plain)


def test_a_file_that_changed_is_read_again(server: ComfyServer, run_name: str, shapes: dict[str, int]) -> None:
    path = server.base / "models" / "loras" / "changing.safetensors"
    prompt = {
        "load": node("GlitchLoadLora", {"source": "file", "source.lora_name": path.name}),
        "show": node("PreviewAny", source=["load", 2]),
    }
    shown = []
    for seed in (1, 2):
        save_safetensors(path, fitting(seed, shapes), {})
        shown += [server.queue(prompt)["outputs"]["show"]["text"][0] for _ in range(2)]
    assert shown[0] == shown[1] != shown[2] == shown[3]


def test_a_run_that_is_not_connected_is_asked_for(server: ComfyServer, run_name: str) -> None:
    prompt = {
        "load": node("GlitchLoadLora", {"source": "run", "source.step": -1}),
        "show": node("PreviewAny", source=["load", 2]),
    }
    with pytest.raises(PromptError, match=r"GlitchLoadLora .*Required input is missing: run"):
        server.queue(prompt)


@pytest.mark.parametrize(
    ("kind", "inputs", "links", "words"),
    [
        ("GlitchBendLora", NOISE | {"operation": "meteor"}, {"lora": ["file", 0]}, "operation: got 'meteor', allowed"),
        ("GlitchBendLora", NOISE | {"only_blocks": "nowhere"}, {"lora": ["file", 0]}, "only_blocks: got 'nowhere'"),
        ("GlitchBendModel", BEND | {"layers": "some"}, {"model": ["base", 0]}, "layers: got 'some', allowed"),
        ("GlitchBendModel", BEND | {"site": "soul"}, {"model": ["base", 0]}, "site: got 'soul', allowed"),
        ("GlitchBendModel", BEND | {"end_percent": 0.0}, {"model": ["base", 0]}, "start_percent: got 0 to 0"),
    ],
)
def test_what_cannot_be_is_named(
    server: ComfyServer, run_name: str, kind: str, inputs: dict[str, Any], links: dict[str, Any], words: str
) -> None:
    prompt = (
        BASE | loaded(run_name) | {"bad": node(kind, inputs, **links), "show": node("PreviewAny", source=["bad", 1])}
    )
    with pytest.raises(PromptError, match=words):
        server.queue(prompt)
