"""Text Drift in a real ComfyUI server, on the demo model. Oracle: CLIPTextEncode behind Load LoRA."""

import csv
import io
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from comfy_server import ComfyServer, PromptError
from glitch_lora.host.demo_model import load_demo_model
from glitch_lora.training.recipe import Recipe
from glitch_lora.training.run import Run, RunWriter, content_key
from glitch_lora.training.text_settings import EmbeddingSettings
from glitch_lora.training.words import bundled
from PIL import Image

pytestmark = pytest.mark.xdist_group("server")

OUTPUTS = ("plot", "report", "table", "words", "means")
PROBES = "# colours\nred\ngreen\n# shapes\ncircle\nstar\na red circle"
ASKED = {"checkpoints": "all", "probes": PROBES, "neighbours": 2, "table_format": "CSV", "width": 640, "height": 480}


def node(kind: str, inputs: dict[str, Any] | None = None, **links: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": (inputs or {}) | links}


def lora(size: float) -> dict[str, torch.Tensor]:
    """Return a LoRA of the demo model on text encoder and network."""
    random = torch.Generator().manual_seed(0)
    tensors = {}
    for name in (
        "lora_te_text_model_encoder_layers_2_self_attn_v_proj",
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
    ):
        tensors[f"{name}.lora_down.weight"] = torch.randn(2, 64 if "te_" in name else 128, generator=random)
        tensors[f"{name}.lora_up.weight"] = size * torch.randn(64 if "te_" in name else 128, 2, generator=random)
        tensors[f"{name}.alpha"] = torch.tensor(2.0)
    return tensors


@pytest.fixture(scope="module")
def run(server: ComfyServer) -> Run:
    """A run of text encoder and word: step 10 has changed nothing yet but the word, step 20 both."""
    recipe = Recipe(embeddings=(EmbeddingSettings("prtkl", init_text="star"),)).to_json()
    config = {"trigger": "prtkl", "recipe": recipe, "clip_skip": -2}
    writer = RunWriter.create(server.base / "output" / "glitch_lora", content_key("drift"), "drift", config)
    for step, size in ((10, 0.0), (20, 0.2)):
        word = bundled({"prtkl": {"clip_l": torch.full((1, 64), step / 100)}})
        writer.save_checkpoint(step, lora(size) | word, {})
    return writer.run


def drifted(server: ComfyServer, run: Run, **changes: Any) -> dict[str, Any]:
    """Return what the previews of the outputs and the node itself show."""
    opened = node("GlitchOpenRun", {"run_name": run.name, "checkpoints": "all", "include_base": True})
    prompt = {"model": node("GlitchLoadDemoModel"), "open": opened}
    prompt["drift"] = node("GlitchTextDrift", ASKED | changes, run=["open", 0], clip=["model", 1])
    views = {name: node("PreviewAny", source=["drift", place]) for place, name in enumerate(OUTPUTS) if place}
    saved = {"plot": node("SaveImage", {"filename_prefix": "drift"}, images=["drift", 0])}
    return server.queue(prompt | views | saved)["outputs"]


def test_drift_of_a_run(server: ComfyServer, run: Run) -> None:
    outputs = drifted(server, run)
    rows = list(csv.DictReader(io.StringIO(outputs["table"]["text"][0])))
    assert [(row["step"], row["class"], row["probe"]) for row in rows[:3]] == [
        ("10", "learnt", "prtkl"),
        ("10", "colours", "red"),
        ("10", "colours", "green"),
    ]
    by_probe = {(row["step"], row["probe"]): float(row["sequence_drift"]) for row in rows}
    assert by_probe["10", "red"] == 0 < by_probe["20", "red"]
    assert by_probe["10", "prtkl"] > 0
    means = [float(value) for value in outputs["means"]["text"]]
    assert means[0] == 0
    assert means[1] == pytest.approx(np.mean([by_probe["20", text] for text in PROBES.splitlines() if "#" not in text]))
    assert by_probe["20", "red"] == pytest.approx(expected_drift(run, "red"), rel=1e-4)

    report = outputs["report"]["text"][0]
    assert report.startswith(f"Text drift of {run.name} at step 20, the last of 2")
    words = list(csv.DictReader(io.StringIO(outputs["words"]["text"][0])))
    assert [(row["step"], row["start"]) for row in words] == [("0", "start"), ("10", "start"), ("20", "start")]
    assert words[0]["near"].startswith("star 1.000") and float(words[0]["moved"]) == 0

    assert outputs["plot"]["images"]
    saved = outputs["plot"]["images"][0]
    pixels = np.asarray(Image.open(server.base / "output" / saved["subfolder"] / saved["filename"]))
    assert pixels.shape == (480, 640, 3) and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def expected_drift(run: Run, text: str) -> float:
    """Return 1 - cosine of a single token in the conditioning with and without the LoRA, at the run's clip skip."""
    import comfy.sd
    from glitch_lora.training.lora_file import load_safetensors

    from nodes import CLIPSetLastLayer, CLIPTextEncode

    _, clip, _ = load_demo_model()
    tensors = {key: value for key, value in load_safetensors(run.checkpoint(20).path)[0].items() if "lora_te" in key}
    (skipped,) = CLIPSetLastLayer().set_last_layer(clip, -2)
    loaded = comfy.sd.load_lora_for_models(None, skipped, tensors, 1.0, 1.0)[1]
    before, after = (CLIPTextEncode().encode(each, text)[0][0][0][0, 1].double() for each in (skipped, loaded))
    return float(1 - torch.cosine_similarity(before, after, dim=0))


def test_steps_format_and_built_in_probes(server: ComfyServer, run: Run) -> None:
    outputs = drifted(server, run, checkpoints="last", probes="", table_format="Markdown", neighbours=5)
    assert len(outputs["means"]["text"]) == 1
    table = outputs["table"]["text"][0]
    assert table.startswith("clip_l, step 20, common to all: ") and table.count("\n|") == 2 + 83
    assert "By class: " in outputs["report"]["text"][0]


def test_the_clip_goes_on_as_it_came(server: ComfyServer, run: Run) -> None:
    """A picture whose prompts wait for the node, on the same CLIP, is the one drawn before."""
    plain = RunWriter.create(run.folder.parent, content_key("plain"), "plain", {})
    plain.save_checkpoint(5, lora(0.5), {})
    model = {"model": node("GlitchLoadDemoModel")}
    (before,) = drawn(server, model | drawing("before", ""))
    opened = node("GlitchOpenRun", {"run_name": plain.run.name, "checkpoints": "all", "include_base": True})
    drift = node("GlitchTextDrift", ASKED, run=["open", 0], clip=["model", 1])
    # The table of a run without words is empty: a prompt that is there only once the node has ended.
    (after,) = drawn(server, model | {"open": opened, "drift": drift} | drawing("after", ["drift", 3]))
    assert np.array_equal(before, after)
    loaded = {"apply": node("GlitchApplyCheckpoint", run=["open", 0], model=["model", 0], clip=["model", 1])}
    loaded["apply"]["inputs"] |= {"step": 5, "strength": 1.0, "use_run_clip_skip": True}
    (other,) = drawn(server, model | {"open": opened} | loaded | drawing("other", "", ["apply", 1]))
    assert not np.array_equal(before, other)


def drawing(name: str, text: Any, clip: Any = ("model", 1)) -> dict[str, Any]:
    """Return the stock nodes that draw and save one picture of `text`."""
    settings = {"seed": 1, "steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    sample = node("KSampler", settings, model=["model", 0], positive=["text", 0], negative=["text", 0])
    sample["inputs"]["latent_image"] = ["empty", 0]
    return {
        "text": node("CLIPTextEncode", {"text": text}, clip=list(clip)),
        "empty": node("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        "sample": sample,
        "decode": node("VAEDecode", samples=["sample", 0], vae=["model", 2]),
        "save": node("SaveImage", {"filename_prefix": name}, images=["decode", 0]),
    }


def drawn(server: ComfyServer, prompt: dict[str, Any]) -> list[np.ndarray]:
    images = server.queue(prompt)["outputs"]["save"]["images"]
    return [np.asarray(Image.open(server.base / "output" / one["subfolder"] / one["filename"])) for one in images]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoints": "15"}, "checkpoints: got '15', allowed all, every N, first, last or the steps 10, 20"),
        ({"probes": "# nothing"}, "probes: got headings alone"),
        ({"probes": "()"}, "probes: got '()', which has no token"),
    ],
)
def test_refusals(server: ComfyServer, run: Run, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError) as refused:
        drifted(server, run, **changes)
    assert message in str(refused.value)


def test_a_run_without_checkpoints_is_refused(server: ComfyServer, run: Run) -> None:
    begun = run.folder.parent / "begun-00000000"
    begun.mkdir()
    try:
        (begun / "config.json").write_text("{}")
        with pytest.raises(PromptError, match="checkpoints: got a run without a checkpoint"):
            drifted(server, Run(begun))
    finally:
        shutil.rmtree(begun)
