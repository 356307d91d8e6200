"""Sweep Checkpoints and Sweep Grid in a real ComfyUI server.

Oracle: the stock graph (Load LoRA, KSampler, VAE Decode, Save Image) queued in the same server.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from comfy_server import PromptError
from PIL import Image
from sweep_scene import write_run
from tiny_models import write_random_checkpoint

pytestmark = pytest.mark.xdist_group("server")

CHECKPOINT = "sweep-tiny.safetensors"
SWEEP_DEFAULTS = {
    "prompts": "",
    "checkpoints": "all",
    "strengths": "1.0",
    "seeds": "",
    "sizes": "",
    "steps": "",
    "cfg": "",
    "rows": "prompt",
    "columns": "checkpoint",
    "negative": "",
    "negative_use": "with",
    "samplers": "",
    "schedulers": "",
    "max_pictures": 400,
}


@pytest.fixture(scope="module")
def run(server):
    """A run folder in the server's output, for a small SD1.5 checkpoint that the server can load."""
    import comfy.sd

    path = write_random_checkpoint(server.base / "models" / "checkpoints" / CHECKPOINT, "small")
    model = comfy.sd.load_checkpoint_guess_config(str(path), output_vae=False, output_clip=False)[0]
    return write_run(server.base / "output" / "glitch_lora", "sd15", model, steps=(5, 10))


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


def graph(run, grid=True, **settings):
    nodes = {
        "load": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "run": node("GlitchOpenRun", run_name=run.name, checkpoints="all", include_base=True),
        "sweep": node(
            "GlitchSweep",
            run=["run", 0],
            model=["load", 0],
            clip=["load", 1],
            vae=["load", 2],
            **(SWEEP_DEFAULTS | settings),
        ),
    }
    if grid:
        nodes["grid"] = node("GlitchGrid", sweep=["sweep", 0], columns=0, title="", page_side=2048)
    return nodes


def stock_graph(run, step, prompt):
    nodes = {
        "load": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "positive": node("CLIPTextEncode", clip=["lora", 1], text=prompt),
        "negative": node("CLIPTextEncode", clip=["lora", 1], text=""),
        "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "sample": node(
            "KSampler",
            model=["lora", 0],
            positive=["positive", 0],
            negative=["negative", 0],
            latent_image=["latent", 0],
            seed=4,
            steps=2,
            cfg=3.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        "decode": node("VAEDecode", samples=["sample", 0], vae=["load", 2]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix=f"stock-{step}"),
    }
    if step:
        lora = run.checkpoint(step).path.name
        nodes["lora"] = node(
            "LoraLoader",
            model=["load", 0],
            clip=["load", 1],
            lora_name=lora,
            strength_model=1.0,
            strength_clip=1.0,
        )
    else:
        for name in ("positive", "negative", "sample"):
            inputs = nodes[name]["inputs"]
            nodes[name]["inputs"] = {
                key: ["load", value[1]] if value == ["lora", 0] or value == ["lora", 1] else value
                for key, value in inputs.items()
            }
    return nodes


def texts(server, kind="progress_text"):
    return [data["text"] for event, data in server.events if event == kind]


def cell_files(run):
    return sorted((run.folder / "sweeps" / "cells").glob("*.png"))


def test_a_sweep_ends_in_a_grid_and_a_second_one_renders_nothing(server, run):
    entry = server.queue(graph(run, prompts="a cat\na (red:1.2) dog"), workflow={"nodes": [], "id": "mine"})
    (path,) = server.files(entry)
    assert path.name == "grid-1.png" and path.parent.parent == run.folder / "sweeps"
    with Image.open(path) as page:
        assert page.width > 700 and json.loads(page.text["workflow"])["id"] == "mine"
        assert json.loads(page.text["prompt"])["sweep"]["class_type"] == "GlitchSweep"
    files = cell_files(run)
    assert len(files) == 6
    with Image.open(files[0]) as cell:
        assert json.loads(cell.text["workflow"])["id"] == "mine" and "prompt" in cell.text
    lines = [line for line in texts(server) if "pictures" in line]
    assert any("6 pictures" in line and "6 to render" in line for line in lines)

    stamps = {file: file.stat().st_mtime_ns for file in files}
    # ComfyUI would answer the same graph from its cache: another order of prompts makes the node run again.
    server.queue(graph(run, prompts="a (red:1.2) dog\na cat"))
    assert {file: file.stat().st_mtime_ns for file in cell_files(run)} == stamps
    assert any("nothing to render" in line for line in texts(server))


@pytest.mark.parametrize("step", [0, 10])
def test_a_cell_is_the_stock_graphs_saved_picture(server, run, step):
    (server.base / "output" / "loras").mkdir(exist_ok=True)
    for checkpoint in run.checkpoints():
        (server.base / "output" / "loras" / checkpoint.path.name).write_bytes(checkpoint.path.read_bytes())
    server.queue(graph(run, prompts="a cat"))
    (stock,) = server.files(server.queue(stock_graph(run, step, "a cat")))
    wanted = []
    for file in cell_files(run):
        with Image.open(file) as cell:
            settings = json.loads(cell.text["glitch_lora"])["settings"]
            if (settings["checkpoint"], settings["prompt"]) == (step, "a cat"):
                wanted.append(np.asarray(cell.convert("RGB")))
    (ours,) = wanted
    with Image.open(stock) as picture:
        assert (np.asarray(picture.convert("RGB")) == ours).all()


def test_images_and_labels_come_out_in_reading_order(server, run):
    nodes = graph(run, grid=False, prompts="a cat\na dog", strengths="0.5, 1", rows="strength")
    nodes["save"] = node("SaveImage", images=["sweep", 1], filename_prefix="out")
    nodes["grid"] = node(
        "GlitchGrid", images=["sweep", 1], labels=["sweep", 2], columns=3, title="mine", page_side=1024
    )
    nodes["label"] = node("PreviewAny", source=["sweep", 2])
    nodes["report"] = node("PreviewAny", source=["sweep", 3])
    entry = server.queue(nodes)
    saved = [path for path in server.files(entry) if path.name.startswith("out")]
    assert len(saved) == 12
    base = "base (no LoRA)"
    expected = [
        f"{label} · {prompt}" if label == base else f"{label} · strength {strength} · {prompt}"
        for prompt in ("a cat", "a dog")
        for strength in ("0.5", "1")
        for label in (base, "step 5", "step 10")
    ]
    shown = entry["outputs"]["label"]["text"]
    assert [text.strip('"') for text in shown] == expected
    assert "10 pictures" in entry["outputs"]["report"]["text"][0]
    pages = [path for path in server.files(entry) if path.parent.name == "grids"]
    assert len(pages) >= 1 and all(path.name.startswith("mine-") for path in pages)


def test_any_graph_mapped_over_a_runs_checkpoints_lands_in_one_grid(server, run):
    nodes = graph(run, grid=False)
    del nodes["sweep"]
    nodes |= {
        name: value for name, value in stock_graph(run, 10, "a cat").items() if name not in ("load", "lora", "save")
    }
    nodes["lora"] = node(
        "GlitchApplyCheckpoint",
        run=["run", 0],
        model=["load", 0],
        clip=["load", 1],
        step=["run", 1],
        strength=1.0,
        use_run_clip_skip=True,
    )
    nodes["grid"] = node("GlitchGrid", images=["decode", 0], labels=["run", 2], columns=0, title="all", page_side=2048)
    (path,) = server.files(server.queue(nodes))
    assert path.parent == server.base / "output" / "glitch_lora" / "grids"
    with Image.open(path) as page:
        assert page.width > 3 * 224


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"checkpoints": "7"}, r"checkpoints: got '7', allowed .*5, 10"),
        ({"samplers": "eulr"}, r"samplers: got 'eulr', allowed one of .*euler"),
        ({"sizes": "500x512"}, r"sizes: got '500x512'"),
        ({"seeds": "0-1000"}, r"allowed 400, shorten a list"),
        ({"rows": "checkpoint"}, r"two different axes"),
        ({"rows": "colour"}, r"rows"),
    ],
)
def test_what_cannot_be_swept_is_said(server, run, settings, said):
    with pytest.raises(PromptError, match=said):
        server.queue(graph(run, **settings))


def test_a_grid_of_nothing_is_refused(server, run):
    with pytest.raises(PromptError, match="grid: got both or none of sweep and images"):
        server.queue({"grid": node("GlitchGrid", columns=0, title="", page_side=2048)})


def test_help_pages_exist_and_name_every_input():
    from glitch_lora.nodes.sampling import NODES

    docs = Path(__file__).resolve().parent.parent / "web" / "docs"
    for cls in NODES:
        schema = cls.GET_SCHEMA()
        page = (docs / f"{schema.node_id}.md").read_text("utf-8")
        for each in (*schema.inputs, *schema.outputs):
            assert f"**{each.id}**" in page, f"{schema.node_id}: {each.id}"
            assert each.tooltip, f"{schema.node_id}: {each.id} has no tooltip"
