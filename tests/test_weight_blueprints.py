"""Blueprints that bend trained weights, run on a real server with a random LoRA.

Oracles: the very tensors that went in, torch's singular values of the dense products, counts of distinct numbers, and
the pictures that ComfyUI's own nodes draw.
"""

import json
from typing import Any

import blueprints
import numpy as np
import pytest
import torch
from comfy_server import ComfyServer
from glitch_lora.glitch.presets import PRESETS
from glitch_lora.training.lora_file import check_safetensors, load_safetensors, save_safetensors
from test_nodes_weights import BASE, node, pictures, pixels
from tiny_models import write_random_checkpoint
from workflow_to_api import to_api

pytestmark = pytest.mark.xdist_group("server")

BENDING = {preset.title: preset for preset in PRESETS.values() if preset.bends}
RANK = 10  # of which 0.3 are whole components


@pytest.fixture(scope="module")
def lora(server: ComfyServer) -> dict[str, torch.Tensor]:
    """Write the small checkpoint and a LoRA for all its attention layers; return the LoRA."""
    checkpoint = server.base / "models" / "checkpoints" / "small.safetensors"
    write_random_checkpoint(checkpoint)
    header = check_safetensors(checkpoint)
    names = {
        key.removeprefix("model.diffusion_model.").removesuffix(".weight").replace(".", "_"): entry["shape"]
        for key, entry in header.items()
        if "attn1.to_" in key and key.endswith(".weight")
    }
    own = random_lora({f"lora_unet_{name}": tuple(shape) for name, shape in names.items()})
    save(server, "own", own)
    foreign = [f"lora_unet_down_blocks_{block}_attentions_0_transformer_blocks_0_attn1_to_q" for block in range(3)]
    save(server, "foreign", random_lora(dict.fromkeys(foreign, (40, 40))))
    return own


def random_lora(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(5)
    tensors = {}
    for name, (rows, columns) in shapes.items():
        tensors[f"{name}.lora_up.weight"] = torch.randn(rows, RANK, generator=source)
        tensors[f"{name}.lora_down.weight"] = torch.randn(RANK, columns, generator=source) * 0.1
        tensors[f"{name}.alpha"] = torch.tensor(float(RANK))
    return tensors


def save(server: ComfyServer, name: str, tensors: dict[str, torch.Tensor]) -> None:
    (server.base / "models" / "loras").mkdir(parents=True, exist_ok=True)
    save_safetensors(server.base / "models" / "loras" / f"{name}.safetensors", tensors, {})


def inner(server: ComfyServer, title: str, intensity: float, file: str) -> tuple[dict[str, Any], list[str]]:
    """Return a blueprint's own nodes, fed with a LoRA file and the base model, and their ids in the chain's order."""
    path = blueprints.SUBGRAPHS / f"Glitch LoRA - {title}.json"
    prompt = to_api(json.loads(path.read_text(encoding="utf-8")), server.object_info())
    for each in prompt.values():
        if each["class_type"] == "PrimitiveFloat":
            each["inputs"]["value"] = intensity
        if each["class_type"] in ("GlitchTransplantLora", "LoraModelLoader"):
            each["inputs"]["model"] = ["base", 0]
        if "Lora" in each["class_type"]:
            each["inputs"].setdefault("lora", ["load", 0])
    load = node("GlitchLoadLora", {"source": "file", "source.lora_name": f"{file}.safetensors"})
    return BASE | {"load": load} | prompt, [key for key, each in prompt.items() if "Lora" in each["class_type"]]


def ran(server: ComfyServer, title: str, intensity: float) -> tuple[dict[str, torch.Tensor], str]:
    """Return what a blueprint makes of the LoRA, as ComfyUI saves it, and its reports."""
    prompt, chain = inner(server, title, intensity, "own")
    prefix = f"loras/{title.split()[0]}{intensity * 100:.0f}"
    shown = {f"report {number}": node("PreviewAny", source=[key, 1]) for number, key in enumerate(chain)}
    entry = server.queue(prompt | shown | {"save": node("SaveLoRA", {"prefix": prefix}, lora=[chain[-1], 0])})
    (saved,) = (server.base / "output").glob(f"{prefix}*.safetensors")
    return load_safetensors(saved)[0], "\n".join(entry["outputs"][name]["text"][0] for name in shown)


def products(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return alpha / r * up @ down of each layer."""
    names = [key.removesuffix(".lora_up.weight") for key in tensors if key.endswith(".lora_up.weight")]
    return {
        name: tensors[f"{name}.alpha"].double()
        / RANK
        * (tensors[f"{name}.lora_up.weight"].double() @ tensors[f"{name}.lora_down.weight"].double())
        for name in names
    }


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_each_preset_names_the_nodes_to_use() -> None:
    assert set(BENDING) == {"Wrong Body", "Ghost Spectrum", "Broken Vertebrae"}
    for title, preset in BENDING.items():
        assert f"the blueprint {title}" in preset.weights and "Bend LoRA" in preset.weights
        assert [bend.operation for bend in preset.bends if bend.operation not in preset.weights] == []
        assert [bend.only_blocks for bend in preset.bends if bend.only_blocks not in preset.weights] == []
        assert ("Transplant LoRA" in preset.weights) == bool(preset.fit)


@pytest.mark.parametrize("title", BENDING)
def test_a_blueprint_has_every_bend_of_its_preset_on_one_dial(server: ComfyServer, title: str) -> None:
    prompt, chain = inner(server, title, 0.4, "own")
    (dial,) = [key for key, each in prompt.items() if each["class_type"] == "PrimitiveFloat"]
    found = [prompt[key]["inputs"] for key in chain if prompt[key]["class_type"] == "GlitchBendLora"]
    assert [each["operation"] for each in found] == [bend.operation for bend in BENDING[title].bends]
    for each, bend in zip(found, BENDING[title].bends, strict=True):
        assert each["severity"] == (1.0 if bend.steady else [dial, 0])
        assert each["norm_match"] == bend.norm_match and each["only_blocks"] == bend.only_blocks
        assert {name: each[f"operation.{name}"] for name in bend.parameters} == bend.parameters
    for first, second in zip(["load", *chain], chain, strict=False):
        assert prompt[second]["inputs"]["lora"] == [first, 0]


@pytest.mark.parametrize("title", ["Ghost Spectrum", "Broken Vertebrae"])
def test_at_0_the_lora_comes_out_as_it_went_in(server: ComfyServer, lora: dict[str, torch.Tensor], title: str) -> None:
    assert same(ran(server, title, 0.0)[0], lora)


def test_a_ghost_has_the_strengths_of_the_living_but_not_its_looks(
    server: ComfyServer, lora: dict[str, torch.Tensor]
) -> None:
    found, reports = ran(server, "Ghost Spectrum", 1.0)
    before, after, half = (products(each) for each in (lora, found, ran(server, "Ghost Spectrum", 0.5)[0]))
    assert before.keys() == after.keys()
    for name, product in before.items():
        strengths = torch.linalg.svdvals(product)[:RANK]
        assert torch.allclose(torch.linalg.svdvals(after[name])[:RANK], strengths, rtol=1e-3)
        assert (after[name] - product).norm() > 0.2 * product.norm()
        assert half[name].norm() == pytest.approx(float(product.norm()), rel=1e-3)
    assert "lora_spectrum at severity 1, seed 0, norms matched" in reports and "lora_rank_scramble" in reports


def test_vertebrae_change_places_and_keep_three_bits(server: ComfyServer, lora: dict[str, torch.Tensor]) -> None:
    found, reports = ran(server, "Broken Vertebrae", 1.0)
    factors = [tensor for key, tensor in found.items() if key.endswith("weight")]
    assert max(len(torch.unique(factor)) for factor in factors) <= 9 < len(torch.unique(next(iter(lora.values()))))
    before, after = products(lora), products(found)
    near = {name: max(before, key=lambda other, product=after[name]: alike(product, before[other])) for name in after}
    moved = [name for name, owner in near.items() if name != owner]
    assert moved and all("input_blocks" not in name for name in moved)
    # how much of the layer that came is there: rounding adds to it, and takes nothing away
    strengths = [float((after[name] * before[owner]).sum() / before[owner].norm() ** 2) for name, owner in near.items()]
    assert abs(np.mean(strengths) - 0.8) < 0.03
    assert "lora_layer_shuffle at severity 1" in reports and "lora_quantize at severity 1" in reports


def alike(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one * other).sum() / one.norm() / other.norm()) if one.shape == other.shape else -1.0


def test_a_wrong_body_draws_otherwise_the_more_the_dial_is_up(
    server: ComfyServer, lora: dict[str, torch.Tensor]
) -> None:
    drawn = {}
    for intensity in (0.0, 1.0):
        prompt, chain = inner(server, "Wrong Body", intensity, "foreign")
        (transplant, bend, loader) = chain
        assert prompt[loader]["class_type"] == "LoraModelLoader" and prompt[loader]["inputs"]["lora"] == [bend, 0]
        prompt["report"] = node("PreviewAny", source=[transplant, 1])
        entry = server.queue(prompt | pictures(plain=["base", 0], worn=[loader, 0]))
        drawn[intensity] = [pixels(server, entry, name) for name in ("plain", "worn")]
        assert "3 of 3" in entry["outputs"]["report"]["text"][0]
    assert np.array_equal(*drawn[0.0]) and np.abs(drawn[1.0][0] - drawn[1.0][1]).max() > 2
    assert "lora key not loaded" not in server.log
