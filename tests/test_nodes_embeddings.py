"""Save Embedding, and Save LoRA of a run with words, on a real server.

Oracle: what CLIP Text Encode makes of the saved file, against the same vectors in a file the test wrote itself.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comfy_server import ComfyServer, PromptError
from glitch_lora.training.lora_file import load_safetensors
from glitch_lora.training.run import RunWriter, content_key
from glitch_lora.training.words import bundled
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import write_random_checkpoint

pytestmark = pytest.mark.xdist_group("server")

ATTENTION = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
BASE = {"base": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "small.safetensors"}}}


def node(kind: str, inputs: dict[str, Any] | None = None, **links: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": (inputs or {}) | links}


def word(step: int) -> torch.Tensor:
    return torch.randn(2, 768, generator=torch.Generator().manual_seed(step))


def lora() -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(1)
    down, up = torch.randn(2, 320, generator=source) * 0.1, torch.randn(320, 2, generator=source)
    layer = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(2.0)}
    return {f"{ATTENTION}.{name}": tensor for name, tensor in layer.items()}


@pytest.fixture(scope="module")
def runs(server: ComfyServer) -> dict[str, dict[str, Any]]:
    """Return the nodes that open a pivotal run, one of words alone and one without words."""
    write_random_checkpoint(server.base / "models" / "checkpoints" / "small.safetensors")
    words = {step: bundled({"prtkl": {"clip_l": word(step)}}) for step in (10, 20)}
    opened = {}
    for name, parts in {"pivotal": (lora(), True), "inversion": ({}, True), "plain": (lora(), False)}.items():
        writer = RunWriter.create(server.base / "output" / "glitch_lora", content_key(name), name, {"trigger": "prtkl"})
        for step, vectors in words.items():
            tensors = parts[0] | (vectors if parts[1] else {})
            writer.save_checkpoint(step, tensors, {"modelspec.architecture": "stable-diffusion-v1/lora"})
        settings = {"run_name": writer.run.folder.name, "checkpoints": "all", "include_base": True}
        opened[name] = {name: node("GlitchOpenRun", settings)}
    return opened


def saved(run: str, **settings: Any) -> dict[str, Any]:
    inputs = {"step": -1, "token": "", "name": "", "dtype": "fp32"} | settings
    shown = {f"show{slot}": node("PreviewAny", source=["save", slot]) for slot in range(3)}
    return {"save": node("GlitchSaveEmbedding", inputs, run=[run, 0])} | shown


def picture(name: str, text: Any) -> dict[str, Any]:
    """Return the stock nodes that draw and save one small picture of a prompt."""
    settings = {"seed": 3, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    links = {"model": ["base", 0], "positive": [f"{name}+", 0], "negative": [f"{name}-", 0]}
    return {
        f"{name}+": node("CLIPTextEncode", {"text": text}, clip=["base", 1]),
        f"{name}-": node("CLIPTextEncode", {"text": ""}, clip=["base", 1]),
        f"{name}0": node("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        f"{name}s": node("KSampler", settings | links, latent_image=[f"{name}0", 0]),
        f"{name}d": node("VAEDecode", samples=[f"{name}s", 0], vae=["base", 2]),
        name: node("SaveImage", {"filename_prefix": name}, images=[f"{name}d", 0]),
    }


def pixels(server: ComfyServer, entry: dict[str, Any], name: str) -> np.ndarray:
    (found,) = entry["outputs"][name]["images"]
    return np.asarray(Image.open(server.base / "output" / found["subfolder"] / found["filename"])).astype(int)


def test_the_saved_word_draws_in_the_same_graph(server: ComfyServer, runs: dict[str, Any]) -> None:
    """prompt_text connects to CLIP Text Encode; it draws what the same vectors in models/embeddings draw."""
    embeddings = server.base / "models" / "embeddings"
    embeddings.mkdir(parents=True, exist_ok=True)
    save_file({"emb_params": word(20)}, embeddings / "reference.safetensors")
    prompt = BASE | runs["pivotal"] | saved("pivotal")
    prompt |= picture("ours", ["save", 0]) | picture("same", "embedding:reference") | picture("text", "prtkl")
    entry = server.queue(prompt)
    text, path, report = (entry["outputs"][f"show{slot}"]["text"][0] for slot in range(3))
    assert text == "embedding:prtkl" and Path(path) == server.base / "output" / "embeddings" / "prtkl.safetensors"
    assert "Saved prtkl of step 20" in report and "Put embedding:prtkl into the prompt." in report
    assert entry["outputs"]["save"]["text"] == [report]
    assert np.array_equal(pixels(server, entry, "ours"), pixels(server, entry, "same"))
    assert np.abs(pixels(server, entry, "ours") - pixels(server, entry, "text")).max() > 0
    assert "does not exist, ignoring" not in server.log
    tensors, metadata = load_safetensors(Path(path))
    assert torch.equal(tensors["emb_params"], word(20))
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/textual-inversion"


def test_another_step_gets_a_name_of_its_own(server: ComfyServer, runs: dict[str, Any]) -> None:
    """Also where a file of models/embeddings has the name."""
    embeddings = server.base / "models" / "embeddings"
    embeddings.mkdir(parents=True, exist_ok=True)
    torch.save({"emb_params": word(5)}, embeddings / "moss.pt")
    names = []
    for settings in ({"step": 10}, {"step": 20}, {"step": 10}, {"step": 10, "dtype": "fp16"}):
        prompt = runs["inversion"] | saved("inversion", token="<PRTKL>", name="moss", **settings)
        names.append(server.queue(prompt)["outputs"]["show0"]["text"][0])
    assert names == ["embedding:moss-2", "embedding:moss-3", "embedding:moss-2", "embedding:moss-4"]


def test_a_lora_is_saved_without_its_words_or_with_them(server: ComfyServer, runs: dict[str, Any]) -> None:
    """The one without loads whole; Load LoRA Weights takes the LoRA out of the other."""
    common = {"step": 20, "dtype": "keep"}
    prompt = BASE | runs["pivotal"] | {
        "plain": node("GlitchSaveLora", common | {"name": "plain", "embeddings": "leave out"}, run=["pivotal", 0]),
        "full": node("GlitchSaveLora", common | {"name": "full", "embeddings": "bundle"}, run=["pivotal", 0]),
        "load": node(
            "LoraLoader", {"strength_model": 1.0, "strength_clip": 1.0}, model=["base", 0], clip=["base", 1],
            lora_name=["plain", 0],
        ),
        "show": node("PreviewAny", source=["full", 3]),
    } | picture("drawn", "a street")  # fmt: skip
    prompt["drawns"]["inputs"]["model"] = ["load", 0]
    entry = server.queue(prompt)
    assert "lora key not loaded" not in server.log
    loras = server.base / "output" / "loras"
    assert load_file(loras / "plain.safetensors").keys() == lora().keys()
    assert load_file(loras / "full.safetensors").keys() == {*lora(), "bundle_emb.prtkl.clip_l"}
    assert "carries them too" in entry["outputs"]["show"]["text"][0]

    prompt = {
        "load": node("GlitchLoadLora", {"source": "file", "source.lora_name": "full.safetensors"}),
        "show": node("PreviewAny", source=["load", 2]),
    }
    report = server.queue(prompt)["outputs"]["show"]["text"][0]
    assert "1 layers (1 of rank 2)" in report and "It carries embedding:prtkl" in report


def test_what_cannot_be_saved_is_named(server: ComfyServer, runs: dict[str, Any]) -> None:
    inputs = {"step": -1, "name": "", "dtype": "keep"}
    lora_of_words = runs["inversion"] | {"save": node("GlitchSaveLora", inputs, run=["inversion", 0])}
    for prompt, words in (
        (lora_of_words, "trained only prtkl and no LoRA, .* save its words with Save Embedding"),
        (runs["plain"] | saved("plain"), "which trained no words, allowed runs with textual inversion"),
        (runs["pivotal"] | saved("pivotal", token="rust"), r"token: got 'rust', allowed \['prtkl'\]"),
        (runs["pivotal"] | saved("pivotal", step=3), r"step: got 3, allowed .*\[10, 20\]"),
    ):
        with pytest.raises(PromptError, match=words):
            server.queue(prompt)
