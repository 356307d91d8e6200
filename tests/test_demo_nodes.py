"""Load Demo Model and Demo Dataset: one node and one choice each, in process and in a real ComfyUI server.

Oracles: the drawing functions themselves, Load Dataset on the kept folder, ComfyUI's own nodes.
"""

import shutil
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import pytest
from comfy_server import ComfyServer, PromptError
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.demo.datasets import draw_dataset
from glitch_lora.demo.styles import STYLES
from glitch_lora.host.folders import dataset_folder
from glitch_lora.nodes.demo import GlitchDemoDataset
from glitch_lora.training.run import Run
from PIL import Image
from shipped_workflow import api_form
from test_nodes_dataset import FRAME, LOAD, node, shown


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ComfyUI's datasets folder, empty."""
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "datasets", ([str(tmp_path / "datasets")], set()))
    return tmp_path / "datasets"


def drawn(style: str, pictures: int = 3, seed: int = 0) -> Dataset:
    return GlitchDemoDataset.execute(style=style, pictures=pictures, seed=seed).args[0]


@pytest.mark.parametrize("style", list(STYLES))
def test_a_style_is_drawn_with_its_word_in_every_caption(style: str, datasets: Path) -> None:
    dataset, word = drawn(style), STYLES[style].trigger
    assert dataset.trigger == word
    for index, picture in enumerate(draw_dataset(style, 3)):
        sample = dataset.sample(index)
        assert np.array_equal(np.asarray(sample.image), picture.pixels)
        assert sample.caption == (picture.caption if word in picture.caption else f"{word}, {picture.caption}")
        assert sample.caption.count(word) == 1
        assert sample.triggers == (word,), "partial caption dropout must keep it"


def test_it_is_kept_where_load_dataset_finds_it(datasets: Path) -> None:
    first = drawn("vhs")
    (folder,) = (datasets / "glitch-demo").iterdir()
    assert folder == first.items[0].path.parent
    assert dataset_folder(f"datasets/glitch-demo/{folder.name}") == folder
    assert len(list(folder.glob("*.txt"))) == len(list(folder.glob("*.png"))) == 3
    assert drawn("vhs").fingerprint == first.fingerprint
    assert len({drawn("vhs", seed=1).fingerprint, drawn("vhs", 4).fingerprint, drawn("heart").fingerprint}) == 3


def test_lost_files_are_drawn_again(datasets: Path) -> None:
    """ComfyUI keeps a node's answer while its fingerprint stays: it must move when the files are gone."""
    choice: dict[str, Any] = {"style": "vhs", "pictures": 2, "seed": 5}
    before = GlitchDemoDataset.fingerprint_inputs(**choice)
    dataset = drawn(**choice)
    assert GlitchDemoDataset.fingerprint_inputs(**choice) == before, "an answer in place is not asked for again"
    shutil.rmtree(datasets)
    assert GlitchDemoDataset.fingerprint_inputs(**choice) != before
    assert drawn(**choice).fingerprint == dataset.fingerprint
    linked = {**choice, "seed": None}
    before = GlitchDemoDataset.fingerprint_inputs(**linked)
    shutil.rmtree(datasets)
    assert GlitchDemoDataset.fingerprint_inputs(**linked) != before, "what comes over a wire may be any answer"


pytestmark = pytest.mark.xdist_group("server")


def test_the_dataset_goes_through_the_other_nodes(server: ComfyServer) -> None:
    prompt = {
        "draw": node("GlitchDemoDataset", {"style": "heart", "pictures": 2, "seed": 0}),
        "frame": node("GlitchFrameDataset", FRAME, dataset=["draw", 0]),
        "images": node("GlitchDatasetToImages", {"variant": 0}, dataset=["frame", 0]),
    }
    found = shown(server, prompt, captions=["images", 1], report=["draw", 1], framed=["frame", 1])
    assert found["captions"].splitlines() == [picture.caption for picture in draw_dataset("heart", 2)]
    assert "2 pictures" in found["report"] and "64x128: 2" in found["framed"]
    (folder,) = (server.base / "datasets" / "glitch-demo").glob("heart-*")
    assert str(folder) in found["report"]
    load = {"load": node("GlitchLoadDataset", LOAD | {"folder": f"datasets/glitch-demo/{folder.name}"})}
    assert "2 pictures" in shown(server, load, report=["load", 2])["report"]


def test_impossible_choices_are_refused(server: ComfyServer) -> None:
    for wrong in ({"style": "oil"}, {"pictures": 0}, {"pictures": 201}):
        inputs = {"style": "vhs", "pictures": 1, "seed": 0} | wrong
        with pytest.raises(PromptError, match=next(iter(wrong))):
            shown(server, {"draw": node("GlitchDemoDataset", inputs)}, report=["draw", 1])


def test_two_nodes_are_a_training(server: ComfyServer) -> None:
    """Load Demo Model and Demo Dataset into Train LoRA, and pictures of the stock nodes before and after."""
    settings = {"seed": 1, "steps": 4, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    prompt = {
        "demo": node("GlitchLoadDemoModel", {}),
        "data": node("GlitchDemoDataset", {"style": "vhs", "pictures": 4, "seed": 0}),
        "recipe": _shipped(server, "GlitchRecipe", steps=4, learning_rate=0.01, checkpoint_every=0, sample_every=0),
        "train": _shipped(
            server,
            "GlitchTrain",
            **{"model": ["demo", 0], "clip": ["demo", 1], "vae": ["demo", 2]},
            **{"dataset": ["data", 0], "recipe": ["recipe", 0], "name": "demo-nodes"},
        ),
        "tuned": node(
            "LoraModelLoader", {"strength_model": 1.0, "bypass": False}, model=["demo", 0], lora=["train", 1]
        ),
        "words": node("CLIPTextEncode", {"text": "vhstp, a red circle on white"}, clip=["demo", 1]),
        "empty": node("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
    }
    for name, model in (("before", "demo"), ("after", "tuned")):
        wires = {"model": [model, 0], "positive": ["words", 0], "negative": ["words", 0], "latent_image": ["empty", 0]}
        prompt[f"{name} latent"] = node("KSampler", settings, **wires)
        prompt[f"{name} image"] = node("VAEDecode", {}, samples=[f"{name} latent", 0], vae=["demo", 2])
        prompt[f"{name} file"] = node("SaveImage", {"filename_prefix": name}, images=[f"{name} image", 0])
    outputs = server.queue(prompt)["outputs"]
    before, after = (
        np.asarray(Image.open(server.base / "output" / outputs[f"{name} file"]["images"][0]["filename"])).astype(int)
        for name in ("before", "after")
    )
    assert before.shape == (64, 64, 3)
    assert np.abs(before - after).max() > 8
    (run,) = (server.base / "output" / "glitch_lora").glob("demo-nodes*")
    assert Run(run).trigger == "vhstp"


def _shipped(server: ComfyServer, kind: str, **changes: Any) -> dict[str, Any]:
    """Return a node as the shipped workflow sets it, with some inputs changed."""
    (inputs,) = (each["inputs"] for each in api_form(server).values() if each["class_type"] == kind)
    return node(kind, inputs | changes)
