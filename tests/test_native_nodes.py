"""Train LoRA among ComfyUI's own nodes, cancelled, cut off and taken up again, on a real server.

Oracles: ComfyUI's Save LoRA Weights, Load LoRA Model, Load LoRA, KSampler and Plot Loss Graph; and the bytes of the
checkpoint that an undisturbed training writes.
"""

import re
import shutil
import time

import numpy as np
import pytest
from comfy_server import PromptError, PromptInterrupted
from PIL import Image
from safetensors.numpy import load_file
from shipped_workflow import api_form, lay_out, lowered, number_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("native")]

STEPS = 8
SHORT = {
    "GlitchFrameDataset": {"framing.resolution": 64, "framing.min_side": 64, "framing.max_side": 128},
    "GlitchRecipe": {
        "steps": STEPS,
        "checkpoint_every": 4,
        "sample_every": 0,
        "learning_rate": 0.01,  # so that a few steps change a picture
    },
}
SPINE = (
    "CheckpointLoaderSimple",
    "GlitchLoadDataset",
    "GlitchTriggerWord",
    "GlitchFrameDataset",
    "GlitchCorruptDataset",
    "GlitchRecipe",
    "GlitchTrain",
)


@pytest.fixture(scope="module")
def server(comfy_server, tmp_path_factory):
    """A server that forgets every result, so that each queueing asks Train LoRA again."""
    with comfy_server(tmp_path_factory.mktemp("native"), arguments=("--cache-none",)) as running:
        lay_out(running)
        yield running


@pytest.fixture(scope="module")
def training(server):
    """The shipped workflow up to Train LoRA."""
    prompt = {number: node for number, node in api_form(server).items() if node["class_type"] in SPINE}
    return lowered(prompt, SHORT)


@pytest.fixture(scope="module")
def undisturbed(server, training):
    """The checkpoints of a training in one go, as bytes by file name; its run folder is gone afterwards."""
    server.queue(training)
    files = {path.name: path.read_bytes() for path in _checkpoints(server)}
    assert len(files) == 2
    return files


@pytest.fixture(autouse=True)
def no_runs(server, undisturbed):
    """Each test starts without a run."""
    shutil.rmtree(server.base / "output", ignore_errors=True)
    (server.base / "output").mkdir()


def test_native_nodes_take_the_lora_and_the_loss(server, training):
    train, load = number_of(training, "GlitchTrain"), number_of(training, "CheckpointLoaderSimple")
    picture = {
        "class_type": "KSampler",
        "inputs": {
            "seed": 1,
            "steps": 2,
            "cfg": 5.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
            "positive": ["text", 0],
            "negative": ["text", 0],
            "latent_image": ["empty", 0],
        },
    }

    def pictures(**models):
        nodes = {
            "text": _node("CLIPTextEncode", clip=[load, 1], text="glitchwork"),
            "empty": _node("EmptyLatentImage", width=64, height=64, batch_size=1),
        }
        for name, model in models.items():
            nodes[f"{name} latent"] = picture | {"inputs": picture["inputs"] | {"model": model}}
            nodes[f"{name} image"] = _node("VAEDecode", samples=[f"{name} latent", 0], vae=[load, 2])
            nodes[f"{name} file"] = _node("SaveImage", images=[f"{name} image", 0], filename_prefix=name)
        return nodes

    native = {
        "native": _node("LoraModelLoader", model=[load, 0], lora=[train, 1], strength_model=1.0, bypass=False),
        "save": _node("SaveLoRA", lora=[train, 1], prefix="loras/native", steps=STEPS),
        "graph": _node("LossGraphNode", loss=[train, 2], filename_prefix="loss"),
    }
    entry = server.queue(training | native | pictures(base=[load, 0], native=["native", 0]))
    assert entry["outputs"]["graph"]["images"]

    (saved,) = (server.base / "output" / "loras").glob("native*.safetensors")
    kept, own = load_file(saved), load_file(_checkpoints(server)[-1])
    assert kept.keys() == own.keys()
    assert all(np.array_equal(kept[name], own[name]) for name in kept)

    (published,) = (server.base / "output" / "loras").glob("glitch-*.safetensors")
    for name in (saved.name, published.name):
        stock = _node("LoraLoader", model=[load, 0], clip=[load, 1], lora_name=name, strength_model=1, strength_clip=1)
        loader = {load: training[load], "stock": stock}
        server.queue(loader | pictures(stock=["stock", 0]))
        assert "lora key not loaded" not in server.log
    base, native, *stock = (
        _picture(server, name) for name in ("base_00001_", "native_00001_", "stock_00001_", "stock_00002_")
    )
    assert np.abs(base - native).max() > 8
    for each in stock:
        assert np.abs(each - native).max() <= 1


def test_cancelled_training_goes_on_and_ends_in_the_same_bytes(server, training, undisturbed):
    seen = len(server.events)
    number = server.submit(training)
    _wait_for_text(server, r"^Step 2/", number, seen)
    server.interrupt()
    with pytest.raises(PromptInterrupted):
        server.wait(number)
    assert len(_steps(server)) < STEPS
    told = _texts(server, lambda: server.queue(training))
    assert any(re.match(r"Going on from step [2-7]$", text) for text in told), told
    assert _steps(server) == list(range(1, STEPS + 1))
    _same(server, undisturbed)


def test_cancel_can_keep_the_last_checkpoint_for_the_graph(server, training):
    train = number_of(training, "GlitchTrain")
    prompt = lowered(training, {"GlitchTrain": {"on_cancel": "keep"}})
    prompt["save"] = _node("SaveLoRA", lora=[train, 1], prefix="loras/kept")
    seen = len(server.events)
    number = server.submit(prompt)
    _wait_for_text(server, r"^Step 2/", number, seen)
    server.interrupt()
    server.wait(number)
    (saved,) = (server.base / "output" / "loras").glob("kept*.safetensors")
    last = _checkpoints(server)[-1]
    assert int(last.stem[-8:]) < STEPS
    kept, own = load_file(saved), load_file(last)
    assert kept.keys() == own.keys() and all(np.array_equal(kept[name], own[name]) for name in kept)


def test_a_kept_half_is_not_the_cached_answer(server, training, undisturbed, comfy_server):
    """With ComfyUI's default cache: the same graph queued again goes on, and once it is done it is cached."""
    prompt = lowered(training, {"GlitchTrain": {"on_cancel": "keep"}})
    with comfy_server(server.base, arguments=()) as caching:
        seen = len(caching.events)
        number = caching.submit(prompt)
        _wait_for_text(caching, r"^Step 2/", number, seen)
        caching.interrupt()
        caching.wait(number)
        assert len(_steps(caching)) < STEPS
        caching.queue(prompt)
        assert _steps(caching) == list(range(1, STEPS + 1))
        _same(caching, undisturbed)


def test_samples_that_were_not_made_skip_what_is_connected(server, training):
    """A recipe without samples must not crash a preview that hangs on the output."""
    prompt = lowered(training, {"GlitchRecipe": {"sample_every": 0}})
    prompt["shown"] = _node("PreviewImage", images=[number_of(prompt, "GlitchTrain"), 3])
    entry = server.queue(prompt)
    assert "shown" not in entry["outputs"]


def test_training_in_parts_ends_in_the_same_bytes(server, training, undisturbed):
    prompt = lowered(training, {"GlitchTrain": {"mode": "steps per queue"}})
    prompt[number_of(prompt, "GlitchTrain")]["inputs"]["mode.steps_per_queue"] = 3
    for done in (3, 6, STEPS):
        server.queue(prompt)
        assert _steps(server) == list(range(1, done + 1))
    _same(server, undisturbed)


def test_server_killed_while_training_goes_on_from_the_last_state(server, training, undisturbed, comfy_server):
    with comfy_server(server.base, arguments=("--cache-none",)) as doomed:
        number = doomed.submit(training)
        _wait_for_text(doomed, r"^Step [5-7]/", number, 0)
        doomed.kill()
    with comfy_server(server.base, arguments=("--cache-none",)) as restarted:
        told = _texts(restarted, lambda: restarted.queue(training))
    assert "Going on from step 4" in told
    assert _steps(server) == list(range(1, STEPS + 1))
    _same(server, undisturbed)


def test_finished_training_returns_at_once_in_every_mode(server, training):
    server.queue(training)
    before = {path: path.stat().st_mtime_ns for path in _run(server).rglob("*") if path.is_file()}
    for mode in ("train", "reuse only"):
        told = _texts(server, lambda mode=mode: server.queue(lowered(training, {"GlitchTrain": {"mode": mode}})))
        assert not any("loss" in text for text in told)
    assert {path: path.stat().st_mtime_ns for path in _run(server).rglob("*") if path.is_file()} == before


def test_reuse_only_never_trains(server, training):
    with pytest.raises(PromptError, match=r"GlitchTrain .*reuse only"):
        server.queue(lowered(training, {"GlitchTrain": {"mode": "reuse only"}}))
    assert not list((server.base / "output").rglob("*.safetensors"))


def test_unknown_mode_is_named(server, training):
    with pytest.raises(PromptError, match=r"GlitchTrain .*mode: got 'quickly', allowed \['train', 'reuse only'"):
        server.queue(lowered(training, {"GlitchTrain": {"mode": "quickly"}}))


def _node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def _run(server):
    (run,) = (server.base / "output" / "glitch_lora").glob("glitch-*")
    return run


def _checkpoints(server):
    return sorted((_run(server) / "checkpoints").glob("*.safetensors"))


def _steps(server):
    from glitch_lora.training.run import Run

    return [record["step"] for record in Run(_run(server)).metrics()]


def _same(server, wanted):
    found = {path.name: path.read_bytes() for path in _checkpoints(server)}
    assert wanted.keys() <= found.keys()
    assert {name: found[name] for name in wanted} == wanted


def _picture(server, name):
    with Image.open(server.base / "output" / f"{name}.png") as image:
        return np.asarray(image).astype(int)


def _texts(server, action):
    """Return what the nodes told while `action` ran."""
    seen = len(server.events)
    action()
    time.sleep(0.5)
    return [data["text"] for kind, data in server.events[seen:] if kind == "progress_text"]


def _wait_for_text(server, pattern, number, seen):
    """Return when a node has told a line like `pattern`, after the first `seen` events."""
    while True:
        told = [data["text"] for kind, data in server.events[seen:] if kind == "progress_text"]
        if any(re.search(pattern, text) for text in told):
            return
        assert number not in server.get("/history"), f"the workflow ended before {pattern}"
        time.sleep(0.01)
