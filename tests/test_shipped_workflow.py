"""The shipped workflow on the complete SD1.5 architecture (random weights), through a real ComfyUI server.

The graph is the shipped one, converted from its canvas form; only what LOWERED lists is changed.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from demo_photographs import write_photographs
from PIL import Image
from random_checkpoint import write_random_checkpoint
from workflow_to_api import to_api

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / "workflows" / "01-train-and-sweep.json"
# Node type, input, value: sizes, steps and sweep counts, so that two processor cores finish in minutes.
LOWERED: list[tuple[str, str, Any]] = [
    ("GlitchFrameDataset", "framing.resolution", 128),
    ("GlitchFrameDataset", "framing.min_side", 64),
    ("GlitchFrameDataset", "framing.max_side", 256),
    ("GlitchRecipe", "steps", 2),
    ("GlitchRecipe", "checkpoint_every", 1),
    ("GlitchRecipe", "sample_every", 2),
    ("GlitchRecipe", "sample_width", 64),
    ("GlitchRecipe", "sample_height", 64),
    ("GlitchRecipe", "sample_steps", 1),
    ("GlitchSweep", "sizes", "64x64"),
    ("GlitchSweep", "steps", "1"),
]


def lowered(prompt: dict[str, Any]) -> dict[str, Any]:
    for class_type, name, value in LOWERED:
        nodes = [node for node in prompt.values() if node["class_type"] == class_type and name in node["inputs"]]
        assert nodes, f"the workflow has no {class_type} with {name}: correct the list"
        for node in nodes:
            assert not isinstance(node["inputs"][name], list), f"{class_type} {name} is a link"
            node["inputs"][name] = value
    return prompt


def value(prompt: dict[str, Any], class_type: str, name: str) -> str:
    (found,) = (node["inputs"][name] for node in prompt.values() if node["class_type"] == class_type)
    return found


@pytest.mark.slow
@pytest.mark.exclusive
def test_shipped_workflow_trains_and_sweeps_the_full_architecture(comfy_server, tmp_path):
    from safetensors import safe_open

    base = tmp_path / "ComfyUI of a test"
    workflow = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    with comfy_server(base) as server:
        prompt = lowered(to_api(workflow, server.object_info()))
        checkpoint = value(prompt, "CheckpointLoaderSimple", "ckpt_name")
        write_random_checkpoint(base / "models" / "checkpoints" / checkpoint, "full")
        folder = value(prompt, "GlitchLoadDataset", "folder").removeprefix("input/")
        write_photographs(base / "input" / folder)
        entry = server.queue(prompt, timeout=540, workflow=workflow)
        (grid_node,) = (number for number, node in prompt.items() if node["class_type"] == "GlitchGrid")
        (page,) = entry["outputs"][grid_node]["images"]
        with Image.open(base / page["type"] / page["subfolder"] / page["filename"]) as grid:
            assert min(grid.size) > 128
        runs = base / "output" / "glitch_lora"
        files = sorted(runs.glob("*/checkpoints/*.safetensors"))
        assert [path.stem[-8:] for path in files] == ["00000001", "00000002"]
        with safe_open(files[-1], "pt") as lora:
            modules = {name.split(".")[0] for name in lora.keys()}
            assert all(lora.get_tensor(name).isfinite().all() for name in lora.keys())
        # SD1.5 has 16 transformer blocks: ComfyUI counts to_q, to_k, to_v, to_out of both attentions, 128 layers.
        assert len({name for name in modules if "_attn" in name}) == 128
        assert "lora key not loaded" not in server.log
