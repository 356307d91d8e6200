"""Measure Images and Score Sweep in a real ComfyUI server."""

import json
import shutil

import numpy as np
import pytest
from comfy_server import PromptError
from glitch_lora.metrics.registry import compare, measure, to_array
from photographs import photograph
from PIL import Image
from sweep_scene import write_run
from test_nodes_sampling import CHECKPOINT, SWEEP_DEFAULTS, node
from tiny_models import write_random_checkpoint

pytestmark = pytest.mark.xdist_group("server")


def square(name: str) -> Image.Image:
    return photograph(name).resize((96, 96))


@pytest.fixture(scope="module")
def images(server):
    for name in ("chelsea", "coffee"):
        square(name).save(server.base / "input" / f"measured-{name}.png")
    return {name: node("LoadImage", image=f"measured-{name}.png") for name in ("chelsea", "coffee")}


def measured(server, loaded, **links):
    nodes = loaded | {
        "both": node("ImageBatch", image1=["chelsea", 0], image2=["coffee", 0]),
        "measure": node("GlitchMeasureImages", **({"images": ["both", 0], "metrics": "all"} | links)),
        "report": node("PreviewAny", source=["measure", 0]),
        "values": node("PreviewAny", source=["measure", 1]),
    }
    outputs = server.queue(nodes)["outputs"]
    return outputs["report"]["text"][0], json.loads(outputs["values"]["text"][0]), outputs["measure"]["text"]


def test_a_batch_is_measured_and_compared_as_in_python(server, images):
    report, values, shown = measured(server, images, compare_with=["coffee", 0])
    other = to_array(square("coffee"))
    for row, name in zip(values["images"], ("chelsea", "coffee"), strict=True):
        picture = to_array(square(name))
        assert row == pytest.approx(measure(picture) | compare(picture, other))
    assert values["set"]["vendi_score"] > 1 and values["metrics"]["noise"]["kind"] == "single"
    assert "image 2" in report.splitlines()[0] and "Noise" in report
    assert list(shown) == [report]


def test_without_others_only_the_images_themselves_are_measured(server, images):
    _, values, _ = measured(server, images, images=["chelsea", 0], metrics="noise")
    assert set(values["images"][0]) == {"noise", "chroma_noise", "row_banding", "column_banding"}
    assert values["set"] == {}


def test_a_vae_that_loses_nothing_leaves_all_of_a_difference(server, images):
    """The demo model's latents hold every pixel; 8 bits of rounding apart, all that differs is left."""
    vae = {"model": node("GlitchLoadDemoModel")}
    report, values, _ = measured(server, images | vae, compare_with=["coffee", 0], vae=["model", 2], metrics="noise")
    shares = {name: share for name, share in values["images"][0].items() if name.endswith("left by the VAE")}
    assert len(shares) == 5 and "Difference, left by the VAE" in report
    assert all(share == pytest.approx(1, abs=0.02) for share in shares.values())
    with pytest.raises(PromptError, match="compare_with: got none beside a vae"):
        measured(server, images | vae, vae=["model", 2], metrics="noise")


def test_half_of_what_clipscore_needs_is_refused(server, images):
    with pytest.raises(PromptError, match="CLIPScore: got no clip and no clip_vision, allowed all three or none"):
        text = {"text": node("PrimitiveString", value="a cat")}
        measured(server, images | text, texts=["text", 0], metrics="noise")


def test_images_of_other_sizes_are_refused(server, images):
    small = {"small": node("EmptyImage", width=32, height=32, batch_size=1, color=0)}
    with pytest.raises(PromptError, match="got 96x96 and 32x32, allowed is one size"):
        measured(server, images | small, compare_with=["small", 0])


@pytest.fixture
def run(server):
    import comfy.sd

    path = write_random_checkpoint(server.base / "models" / "checkpoints" / CHECKPOINT, "small")
    model = comfy.sd.load_checkpoint_guess_config(str(path), output_vae=False, output_clip=False)[0]
    run = write_run(server.base / "output" / "glitch_lora", "sd15", model, steps=(5, 10))
    yield run
    shutil.rmtree(run.folder)


def test_a_sweep_is_scored_beside_itself(server, run):
    nodes = {
        "load": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "run": node("GlitchOpenRun", run_name=run.name, checkpoints="all", include_base=True),
        "sweep": node(
            "GlitchSweep",
            **{"run": ["run", 0], "model": ["load", 0], "clip": ["load", 1], "vae": ["load", 2]},
            **(SWEEP_DEFAULTS | {"prompts": "a cat\na dog"}),
        ),
        "score": node("GlitchScoreSweep", sweep=["sweep", 0], metrics="detectors"),
        "report": node("PreviewAny", source=["score", 0]),
        "plot": node("SaveImage", images=["score", 1], filename_prefix="scored-plot"),
    }
    entry = server.queue(nodes)
    report = entry["outputs"]["report"]["text"][0]
    assert "6 pictures measured" in report and "step 10" in report
    (folder,) = (path.parent for path in (run.folder / "sweeps").glob("*/scores.json"))
    assert (folder / "scores.txt").read_text("utf-8").strip() == report
    states = json.loads((folder / "scores.json").read_text("utf-8"))["states"]
    assert [state["checkpoint"] for state in states] == [0, 5, 10]
    assert states[0]["values"]["distance"] == 0 < states[2]["values"]["distance"]
    (plot,) = (path for path in server.files(entry) if path.name.startswith("scored-plot"))
    assert np.asarray(Image.open(plot)).std() > 10
    assert entry["outputs"]["score"]["images"][0]["type"] == "temp"
