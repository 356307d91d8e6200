"""The shipped workflows: their files are sound, and each does its job on a real server.

00-demo, 03-glitch-tags and 06-pivotal-diary run on the demo model, 01-train-and-sweep on a random SD1.5 network,
02-databend-bench needs none.
Oracles: ComfyUI's own /object_info and validation for the file; safetensors and the pixels of saved files for the run.
"""

import itertools
import json
import shutil
import time

import numpy as np
import pytest
from comfy_server import PACK_NAME
from photographs import photograph
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from shipped_workflow import (
    BENCH,
    DEMO,
    DIARY,
    TAGS,
    TRAIN,
    WORKFLOWS,
    api_form,
    lay_out,
    lowered,
    number_of,
    ui_form,
    values,
)

# Only sizes, numbers of steps and numbers of pictures differ from what is shipped.
LOWERED = {
    "GlitchFrameDataset": {"framing.resolution": 128, "framing.min_side": 64, "framing.max_side": 256},
    "GlitchRecipe": {
        "steps": 4,
        "checkpoint_every": 2,
        "sample_every": 2,
        "sample_width": 64,
        "sample_height": 64,
        "sample_steps": 2,
    },
    "GlitchSweep": {"sizes": "64x64", "steps": "2"},
}
# Two steps instead of 300 in training and of 20 in sampling, two checkpoints instead of four.
LOWERED_TAGS = {"GlitchRecipe": {"steps": 2, "checkpoint_every": 1}, "GlitchSweep": {"steps": "2"}}
LOWERED_DIARY = {"GlitchRecipe": {"steps": 2, "checkpoint_every": 1}, "GlitchSweep": {"steps": "2"}}
LOWERED_DEMO = {"GlitchRecipe": {"steps": 2, "checkpoint_every": 1}, "GlitchSweep": {"steps": "2"}}
NOT_RUN = {"MarkdownNote"}
each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def test_folder_holds_nothing_but_workflows_and_thumbnails():
    for path in TRAIN.parent.iterdir():
        assert path.suffix in (".json", ".jpg"), path
        assert path.with_suffix(".json").is_file() and path.with_suffix(".jpg").is_file(), path
    assert set(TRAIN.parent.glob("*.json")) == set(WORKFLOWS)


@each_workflow
def test_thumbnail_is_a_small_readable_picture(path):
    path = path.with_suffix(".jpg")
    assert path.stat().st_size < 300_000
    with Image.open(path) as image:
        assert image.format == "JPEG"
        assert min(image.size) >= 300


@each_workflow
def test_links_stand_at_both_ends_with_one_type(path):
    workflow = ui_form(path)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    links = {link[0]: link for link in workflow["links"]}
    assert len(nodes) == len(workflow["nodes"])
    assert len(links) == len(workflow["links"])
    assert workflow["last_node_id"] >= max(nodes)
    assert workflow["last_link_id"] >= max(links)
    for number, source, output, target, given, kind in links.values():
        assert number in nodes[source]["outputs"][output]["links"]
        assert nodes[target]["inputs"][given]["link"] == number
        assert kind == nodes[source]["outputs"][output]["type"]
        assert nodes[target]["inputs"][given]["type"] in (kind, "*")
    ends = [link for node in nodes.values() for slot in node["outputs"] for link in slot["links"] or ()]
    assert sorted(ends) == sorted(links)


@each_workflow
def test_values_are_as_many_as_the_schema_has_widgets(server, path):
    info = server.object_info()
    for node in ui_form(path)["nodes"]:
        if node["type"] in NOT_RUN:
            continue
        values = node.get("widgets_values", [])
        expected = _widgets(info[node["type"]], dict(zip(itertools.count(), values, strict=False)))
        assert len(values) == expected, node["type"]


@each_workflow
def test_nodes_and_groups_do_not_overlap(path):
    workflow = ui_form(path)
    title = 30  # a node's position is below its title bar
    boxes = [(n["pos"][0], n["pos"][1] - title, n["size"][0], n["size"][1] + title) for n in workflow["nodes"]]
    for one, other in itertools.combinations(boxes, 2):
        assert not _overlap(one, other), (one, other)
    groups = [group["bounding"] for group in workflow["groups"]]
    for one, other in itertools.combinations(groups, 2):
        assert not _overlap(one, other)
    for box in boxes:
        assert sum(_inside(box, group) for group in groups) == 1, box


def test_main_job_runs_and_a_second_queue_returns_at_once(server, tmp_path):
    lay_out(server)
    prompt = lowered(api_form(server), LOWERED)
    entry, told = _queue(server, prompt)
    assert len(told) >= 4
    output = server.base / "output"

    (run,) = [path for path in (output / "glitch_lora").iterdir() if path.name.startswith("glitch-")]
    files = sorted((run / "checkpoints").glob("*.safetensors"))
    assert [path.stem.rpartition("-")[2] for path in files] == ["00000002", "00000004"]
    for path in files:
        with safe_open(path, "np") as tensors:
            names = list(tensors.keys())
            assert any(np.abs(tensors.get_tensor(name)).max() > 0 for name in names if "lora_up" in name)
    assert list((output / "loras").rglob("glitch-*.safetensors"))

    images = entry["outputs"][number_of(prompt, "GlitchGrid")]["images"]
    (grid,) = [output / image["subfolder"] / image["filename"] for image in images]
    shutil.copy(grid, tmp_path / "grid.png")
    with Image.open(grid) as page:
        # three prompts by base and two checkpoints of 64 pixels, with room for labels on both axes
        assert page.width > 3 * 64 and page.height > 3 * 64
        assert "workflow" in page.info
    preview = entry["outputs"][number_of(prompt, "GlitchPreviewDataset")]["images"]
    assert all((server.base / "temp" / image["subfolder"] / image["filename"]).is_file() for image in preview)

    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    server.post("/free", {"free_memory": True, "unload_models": True})  # forget the results, as a restart does
    time.sleep(1)
    _, told = _queue(server, prompt)
    assert told == []
    after = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert {path for path in after if before.get(path) != after[path] and "sweeps" not in path.parts} == set()


def test_demo_needs_no_file_and_no_choice(comfy_server, tmp_path):
    """A fresh ComfyUI with nothing in its folders: the demo trains, and its grid shows more than the base model."""
    with comfy_server(tmp_path / "fresh") as server:
        prompt = lowered(api_form(server, DEMO), LOWERED_DEMO)
        assert "GlitchCorruptDataset" not in {node["class_type"] for node in prompt.values()}, "clean at first"
        entry, told = _queue(server, prompt, DEMO)
        assert len(told) == 2
        (run,) = (server.base / "output" / "glitch_lora").glob("demo-*")
        assert len(list((run / "checkpoints").glob("*.safetensors"))) == 2
        trained_on = json.loads((run / "config.json").read_text(encoding="utf-8"))["dataset"]
        assert len(trained_on) == 24 and all(item["caption"].startswith("hlftn, ") for item in trained_on)
        (grid,) = server.files({"outputs": {"grid": entry["outputs"][number_of(prompt, "GlitchGrid")]}})
        with Image.open(grid) as page:
            # four prompts by base and two checkpoints of 64 pixels, with room for labels on both axes
            assert page.width > 3 * 64 and page.height > 4 * 64
        pictures = list((run / "sweeps").rglob("*.png"))
        assert len([path for path in pictures if not path.stem.startswith("grid")]) == 12


def test_the_bench_breaks_a_picture_in_four_ways_as_shipped(server):
    """Everything as it is in the file. Oracle: the same operations called one after the other, without a server."""
    picture = photograph("astronaut")
    prompt = api_form(server, BENCH)
    (name,) = values(prompt, "LoadImage", "image")
    picture.save(server.base / "input" / name, format="PNG")
    entry, _ = _queue(server, prompt, BENCH)
    benches = [number for number, node in prompt.items() if node["class_type"] == "PreviewImage"]
    assert len(benches) == 4
    for number in benches:
        (path,) = server.files({"outputs": {number: entry["outputs"][number]}})
        with Image.open(path) as shown:
            assert np.array_equal(np.asarray(shown.convert("RGB")), np.asarray(_chained(prompt, number, picture)))
        assert np.abs(np.asarray(picture, int) - np.asarray(_chained(prompt, number, picture))).mean() > 5


def _chained(prompt, number, picture):
    """Return the picture after the Corrupt Image nodes that lead to a node."""
    from glitch_lora.glitch.batch import corrupted_pictures

    inputs = prompt[number]["inputs"]
    source = prompt[inputs["images"][0]]
    if source["class_type"] == "LoadImage":
        before = picture
    else:
        before = _chained(prompt, inputs["images"][0], picture)
    if prompt[number]["class_type"] == "PreviewImage":
        return before
    settings = {
        name.removeprefix("operation."): given for name, given in inputs.items() if name.startswith("operation.")
    }
    return next(corrupted_pictures([before], inputs["operation"], settings, inputs["severity"], inputs["seed"]))


def test_glitch_tags_name_the_damage_in_half_of_the_captions(comfy_server, tmp_path):
    """A fresh ComfyUI: clean and damaged twins, the tag on the damaged ones only, and a grid with and against it."""
    with comfy_server(tmp_path / "fresh") as server:
        prompt = lowered(api_form(server, TAGS), LOWERED_TAGS)
        entry, told = _queue(server, prompt, TAGS)
        assert len(told) == 2
        (run,) = (server.base / "output" / "glitch_lora").glob("glitch-tags-*")
        trained_on = json.loads((run / "config.json").read_text(encoding="utf-8"))["dataset"]
        captions = [item["caption"] for item in trained_on]
        assert len(captions) == 48
        tagged = [caption for caption in captions if caption.startswith("glx_scan, ")]
        assert sorted(caption.removeprefix("glx_scan, ") for caption in tagged) == sorted(set(captions) - set(tagged))
        (grid,) = server.files({"outputs": {"grid": entry["outputs"][number_of(prompt, "GlitchGrid")]}})[-1:]
        with Image.open(grid) as page:
            assert page.width > 2 * 64 and page.height > 4 * 64
        # two checkpoints would be four columns: base and last, each with and without the negative prompt
        pictures = list((run / "sweeps").rglob("*.png"))
        assert len([path for path in pictures if not path.stem.startswith("grid")]) == 16


def test_the_diary_teaches_a_word_and_a_style_and_uses_them(comfy_server, tmp_path):
    """A fresh ComfyUI: chosen pictures with the word, plain ones without, a word frozen at the pivot, files to use."""
    from glitch_lora.training.run import Run

    with comfy_server(tmp_path / "fresh") as server:
        prompt = lowered(api_form(server, DIARY), LOWERED_DIARY)
        entry, told = _queue(server, prompt, DIARY)
        assert len(told) == 2
        (folder,) = (server.base / "output" / "glitch_lora").glob("diary-*")
        run = Run(folder)
        captions = [item["caption"] for item in run.config()["dataset"]]
        named = [caption for caption in captions if caption.startswith("prtkl, ")]
        assert len(named) == len(captions) - len(named) == 24
        assert not any("yellow" in caption for caption in named), "those five are not chosen"
        assert not any("prtkl" in caption for caption in set(captions) - set(named))

        first, last = (run.words(step)["prtkl"]["clip_l"] for step in (1, 2))
        assert first.shape == (2, 64) and first.equal(last), "the pivot is half way"
        (saved,) = (server.base / "output" / "embeddings").glob("*.safetensors")
        assert load_file(saved)["emb_params"].equal(last)
        titles = {str(node["id"]): node.get("title") or node["type"] for node in ui_form(DIARY)["nodes"]}
        texts = {titles[number]: output.get("text") for number, output in entry["outputs"].items()}
        assert "Word prtkl: 2 vectors from noise, at 0.02, frozen after step 1" in texts["What was done"][0]
        assert "Put embedding:prtkl into the prompt" in texts["What to write in a prompt"][0]
        assert "prtkl" in texts["How far they moved"][0]
        assert entry["outputs"][number_of(prompt, "GlitchInspectTrigger")]["text"][0].startswith("prtkl: ")

        for kind in ("GlitchGrid", "GlitchPlotTraining", "GlitchTextDrift", "PreviewImage"):
            made = {number: entry["outputs"][number] for number in (number_of(prompt, kind),)}
            assert len(server.files({"outputs": made})) == 1, kind
        # three prompts with and without the word, by base and two checkpoints
        pictures = list((run.folder / "sweeps").rglob("*.png"))
        assert len([path for path in pictures if not path.stem.startswith("grid")]) == 18


@each_workflow
def test_workflow_is_listed_as_a_template(server, path):
    assert path.stem in server.get("/api/workflow_templates")[PACK_NAME]
    listed = server.get(f"/api/workflow_templates/{PACK_NAME}/{path.name}")
    assert listed == ui_form(path)


def _queue(server, prompt, path=TRAIN):
    """Return the history entry and the lines that training steps told."""
    seen = len(server.events)
    entry = server.queue(prompt, workflow=ui_form(path))
    time.sleep(0.5)
    texts = [data["text"] for kind, data in server.events[seen:] if kind == "progress_text"]
    return entry, [text for text in texts if "loss" in text]


def _widgets(info, values):
    """Return how many values the front end keeps for a node: its widgets, the controls of seeds, chosen sub-inputs."""
    count = 0
    for name in [*info["input_order"].get("required", ()), *info["input_order"].get("optional", ())]:
        spec = info["input"].get("required", {}).get(name) or info["input"]["optional"][name]
        count += _slots(name, spec, values, count)
    return count


def _slots(name, spec, values, place):
    kind, options = spec[0], (spec[1] if len(spec) > 1 else {})
    if kind == "COMFY_DYNAMICCOMBO_V3":
        (chosen,) = [option for option in options["options"] if option["key"] == values[place]]
        inputs = chosen["inputs"]
        parts = {**inputs.get("required", {}), **inputs.get("optional", {})}
        return 1 + sum(_slots(f"{name}.{part}", sub, values, -1) for part, sub in parts.items())
    if options.get("forceInput"):
        return 0
    if isinstance(kind, list) or kind in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR"):
        control = options.get("control_after_generate", name in ("seed", "noise_seed") and kind == "INT")
        return 2 if control or options.get("image_upload") else 1
    return 0


def _overlap(one, other):
    return all(one[i] < other[i] + other[i + 2] and other[i] < one[i] + one[i + 2] for i in (0, 1))


def _inside(box, group):
    return all(group[i] <= box[i] and box[i] + box[i + 2] <= group[i] + group[i + 2] for i in (0, 1))


pytestmark = pytest.mark.xdist_group("workflow")
