"""The run nodes in a real ComfyUI server. Oracle: the pictures that Load LoRA and CLIP Set Last Layer give."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comfy_server import ComfyServer, PromptError
from glitch_lora.training.lora_file import load_safetensors
from glitch_lora.training.run import RunWriter, content_key
from PIL import Image
from tiny_models import write_random_checkpoint

pytestmark = pytest.mark.xdist_group("server")

ATTENTION = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
TEXT = "lora_te_text_model_encoder_layers_3_mlp_fc1"
STEPS = (9, 10, 100)


def node(kind: str, inputs: dict[str, Any] | None = None, **links: Any) -> dict[str, Any]:
    """Return a node of a prompt."""
    return {"class_type": kind, "inputs": (inputs or {}) | links}


def lora(step: int) -> dict[str, torch.Tensor]:
    """Return a LoRA of the small checkpoint that changes network and text encoder, more with each step."""
    source = torch.Generator().manual_seed(step)
    tensors = {}
    for prefix, (rows, columns) in {ATTENTION: (320, 320), TEXT: (3072, 768)}.items():
        tensors[f"{prefix}.lora_down.weight"] = torch.randn(2, columns, generator=source) * 0.1
        tensors[f"{prefix}.lora_up.weight"] = torch.randn(rows, 2, generator=source)
        tensors[f"{prefix}.alpha"] = torch.tensor(2.0)
    return tensors


@pytest.fixture(scope="module")
def run_folder(server: ComfyServer) -> Path:
    """Write a run with three checkpoints, clip skip 2 and a metrics file; returns its folder."""
    write_random_checkpoint(server.base / "models" / "checkpoints" / "small.safetensors")
    root = server.base / "output" / "glitch_lora"
    writer = RunWriter.create(root, content_key("street"), "street", {"trigger": "gl1tch", "clip_skip": -2})
    for step in STEPS:
        writer.save_checkpoint(step, lora(step), {"glitch_lora.trigger": "gl1tch", "ss_steps": str(step)})
        writer.append_metrics({"step": step, "loss": 1 / step, "learning_rate": 1e-4, "grad_norm": 1.0})
    return writer.run.folder


@pytest.fixture
def opened(run_folder: Path) -> dict[str, Any]:
    """Return the prompt's node that opens the run."""
    return {"open": node("GlitchOpenRun", {"run_name": run_folder.name, "checkpoints": "all", "include_base": True})}


def picture(model: list[Any], clip: list[Any], name: str) -> dict[str, Any]:
    """Return the stock nodes that draw and save one small picture."""
    settings = {"seed": 3, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    return {
        f"{name}+": node("CLIPTextEncode", {"text": "gl1tch, a street"}, clip=clip),
        f"{name}-": node("CLIPTextEncode", {"text": ""}, clip=clip),
        f"{name}0": node("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        f"{name}s": node(
            "KSampler",
            settings,
            model=model,
            positive=[f"{name}+", 0],
            negative=[f"{name}-", 0],
            latent_image=[f"{name}0", 0],
        ),
        f"{name}d": node("VAEDecode", samples=[f"{name}s", 0], vae=["base", 2]),
        name: node("SaveImage", {"filename_prefix": name}, images=[f"{name}d", 0]),
    }


def pixels(server: ComfyServer, entry: dict[str, Any], name: str) -> list[np.ndarray]:
    """Return the pictures a Save Image node wrote, in order."""
    found = entry["outputs"][name]["images"]
    return [np.asarray(Image.open(server.base / "output" / one["subfolder"] / one["filename"])) for one in found]


BASE = {"base": node("CheckpointLoaderSimple", {"ckpt_name": "small.safetensors"})}


def test_a_run_mapped_over_a_graph_equals_load_lora(server: ComfyServer, opened: dict[str, Any]) -> None:
    """Open Run's lists through Apply Checkpoint and stock nodes into a grid; each picture equals Load LoRA's."""
    apply = node(
        "GlitchApplyCheckpoint",
        {"strength": 0.5, "use_run_clip_skip": True},
        run=["open", 0],
        step=["open", 1],
        model=["base", 0],
        clip=["base", 1],
    )
    ours = picture(["apply", 0], ["apply", 1], "ours")
    grid = node("GlitchGrid", {"columns": 0, "title": "", "page_side": 1024}, images=["oursd", 0], labels=["apply", 2])
    labels = {"labels": node("PreviewAny", source=["apply", 2]), "report": node("PreviewAny", source=["open", 3])}
    entry = server.queue(BASE | opened | {"apply": apply} | ours | {"grid": grid} | labels)
    assert entry["outputs"]["labels"]["text"] == ["base (no LoRA)", *(f"step {step} x 0.5" for step in STEPS)]
    report = entry["outputs"]["report"]["text"][0]
    for part in ("Trigger word: gl1tch", "Checkpoints: 9, 10, 100", "CLIP layer: -2", "last loss 0.01"):
        assert part in report
    assert len(entry["outputs"]["grid"]["images"]) == 1
    mapped = pixels(server, entry, "ours")
    assert len(mapped) == 4
    assert len({one.tobytes() for one in mapped}) == 4

    loras = server.base / "models" / "loras"
    loras.mkdir(parents=True, exist_ok=True)
    name = opened["open"]["inputs"]["run_name"]
    source = server.base / "output" / "glitch_lora" / name / "checkpoints" / f"{name}-00000010.safetensors"
    shutil.copy(source, loras / "ten.safetensors")
    skip = {"skip": node("CLIPSetLastLayer", {"stop_at_clip_layer": -2}, clip=["base", 1])}
    load = node(
        "LoraLoader",
        {"lora_name": "ten.safetensors", "strength_model": 0.5, "strength_clip": 0.5},
        model=["base", 0],
        clip=["skip", 0],
    )
    entry = server.queue(
        BASE
        | skip
        | {"load": load}
        | picture(["load", 0], ["load", 1], "theirs")
        | picture(["base", 0], ["skip", 0], "plain")
    )
    assert np.array_equal(pixels(server, entry, "theirs")[0], mapped[2])
    assert np.array_equal(pixels(server, entry, "plain")[0], mapped[0])


def test_save_lora_feeds_load_lora_in_the_same_graph(server: ComfyServer, opened: dict[str, Any]) -> None:
    """lora_name connects to Load LoRA; nothing is overwritten; metadata and trigger survive a conversion."""
    save = node("GlitchSaveLora", {"step": 9, "name": "art/nine", "dtype": "keep"}, run=["open", 0])
    load = node(
        "LoraLoader",
        {"strength_model": 1.0, "strength_clip": 1.0},
        model=["base", 0],
        clip=["base", 1],
        lora_name=["save", 0],
    )
    shown = {f"show{slot}": node("PreviewAny", source=["save", slot]) for slot in range(4)}
    prompt = BASE | opened | {"save": save, "load": load} | shown | picture(["load", 0], ["load", 1], "saved")
    entry = server.queue(prompt)
    name, path, trigger, report = (entry["outputs"][f"show{slot}"]["text"][0] for slot in range(4))
    assert name == os.path.join("art", "nine.safetensors")
    assert Path(path) == server.base / "output" / "loras" / name
    assert trigger == "gl1tch"
    assert "Put gl1tch into the prompt." in report
    assert name in server.object_info()["LoraLoader"]["input"]["required"]["lora_name"][0]
    assert len(pixels(server, entry, "saved")) == 1

    first = Path(path).read_bytes()
    save["inputs"] |= {"step": 10}
    entry = server.queue(opened | {"save": save} | shown)
    assert entry["outputs"]["show0"]["text"][0] == os.path.join("art", "nine-2.safetensors")
    assert Path(path).read_bytes() == first
    save["inputs"] |= {"step": -1, "name": "", "dtype": "bf16"}
    entry = server.queue(opened | {"save": save} | shown)
    tensors, metadata = load_safetensors(Path(entry["outputs"]["show1"]["text"][0]))
    assert metadata == {"glitch_lora.trigger": "gl1tch", "ss_steps": "100"}
    assert tensors[f"{TEXT}.lora_up.weight"].dtype == torch.bfloat16
    assert torch.equal(tensors[f"{TEXT}.lora_up.weight"], lora(100)[f"{TEXT}.lora_up.weight"].bfloat16())


def test_plot_is_shown_and_compares_runs(server: ComfyServer, opened: dict[str, Any]) -> None:
    """Alone and with another run on the growing input."""
    settings = {"smoothing": 0.9, "log_steps": True, "log_values": False, "loss_max": 0.0, "width": 640, "height": 480}
    alone = node("GlitchPlotTraining", settings, run=["open", 0])
    both = node("GlitchPlotTraining", settings, run=["open", 0])
    both["inputs"]["compare.run0"] = ["open", 0]
    save = {"a": node("SaveImage", {"filename_prefix": "a"}, images=["alone", 0])}
    save |= {"b": node("SaveImage", {"filename_prefix": "b"}, images=["both", 0])}
    entry = server.queue(opened | {"alone": alone, "both": both} | save)
    one, two = pixels(server, entry, "a")[0], pixels(server, entry, "b")[0]
    assert one.shape == two.shape == (480, 640, 3)
    assert not np.array_equal(one, two)
    assert entry["outputs"]["alone"]["images"][0]["type"] == "temp"


def test_a_run_that_has_just_begun_can_be_plotted(server: ComfyServer, run_folder: Path) -> None:
    """Metrics and no checkpoint: the base alone in the lists."""
    writer = RunWriter.create(run_folder.parent, content_key("begun"), "begun", {})
    writer.append_metrics({"step": 1, "loss": 0.5})
    opened = node("GlitchOpenRun", {"run_name": writer.run.name, "checkpoints": "every 2", "include_base": False})
    settings = {"smoothing": 0.0, "log_steps": False, "log_values": False, "loss_max": 0.0, "width": 320, "height": 256}
    plot = node("GlitchPlotTraining", settings, run=["open", 0])
    entry = server.queue({"open": opened, "plot": plot, "labels": node("PreviewAny", source=["open", 2])})
    assert entry["outputs"]["labels"]["text"] == ["base (no LoRA)"]
    assert len(entry["outputs"]["plot"]["images"]) == 1


def test_new_checkpoints_are_seen_and_damage_is_told(
    server: ComfyServer, opened: dict[str, Any], run_folder: Path
) -> None:
    """The same graph queued again after the run went on; a torn file is named and left out."""
    prompt = opened | {
        "steps": node("PreviewAny", source=["open", 1]),
        "report": node("PreviewAny", source=["open", 3]),
    }
    opened["open"]["inputs"] |= {"checkpoints": "every 2", "include_base": False}
    assert server.queue(prompt)["outputs"]["steps"]["text"] == ["9", "100"]
    good = next((run_folder / "checkpoints").glob("*-00000100.safetensors"))
    new = good.with_name(good.name.replace("00000100", "00000200"))
    shutil.copy(good, new)
    torn = good.with_name(good.name.replace("00000100", "00000300"))
    torn.write_bytes(good.read_bytes()[:-10])
    try:
        outputs = server.queue(prompt)["outputs"]
        assert outputs["steps"]["text"] == ["10", "200"]
        assert f"Problem: {run_folder.name}: checkpoint skipped: {torn.name}" in outputs["report"]["text"][0]
    finally:
        new.unlink()
        torn.unlink()


@pytest.mark.parametrize(
    ("kind", "inputs", "message"),
    [
        (
            "GlitchSaveLora",
            {"step": 11, "name": "", "dtype": "keep"},
            r"step: got 11, allowed .*\[9, 10, 100\], choose one",
        ),
        (
            "GlitchOpenRun",
            {"run_name": None, "checkpoints": "11", "include_base": True},
            "checkpoints: got '11', allowed",
        ),
        ("GlitchOpenRun", {"run_name": "gone", "checkpoints": "all", "include_base": True}, "run_name"),
    ],
)
def test_what_is_not_there_is_named(
    server: ComfyServer, opened: dict[str, Any], kind: str, inputs: dict[str, Any], message: str
) -> None:
    """A step, a step in the list, a run: what was asked and what there is."""
    if "run_name" in inputs:
        inputs = inputs | {"run_name": inputs["run_name"] or opened["open"]["inputs"]["run_name"]}
        prompt = {"open": node(kind, inputs), "show": node("PreviewAny", source=["open", 3])}
    else:
        prompt = opened | {"save": node(kind, inputs, run=["open", 0])}
    with pytest.raises(PromptError, match=message):
        server.queue(prompt)


def test_a_checkpoint_of_another_family_is_refused(server: ComfyServer, run_folder: Path) -> None:
    """With the class of the model and a key; the run stays usable."""
    writer = RunWriter.create(run_folder.parent, content_key("flux"), "flux", {})
    down, up = torch.ones(1, 4), torch.ones(4, 1)
    keys = {"diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight": down}
    keys["diffusion_model.double_blocks.0.img_attn.qkv.lora_B.weight"] = up
    writer.save_checkpoint(5, keys, {})
    opened = node("GlitchOpenRun", {"run_name": writer.run.name, "checkpoints": "all", "include_base": False})
    apply = node(
        "GlitchApplyCheckpoint",
        {"strength": 1.0, "step": -1, "use_run_clip_skip": True},
        run=["open", 0],
        model=["base", 0],
    )
    with pytest.raises(PromptError, match=r"none of the 2 keys exist in this SD15 model .*double_blocks"):
        server.queue(BASE | {"open": opened, "apply": apply, "show": node("PreviewAny", source=["apply", 2])})
