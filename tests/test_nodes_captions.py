"""Corrupt Captions in a real ComfyUI server, and that what it gives is what its operations give.

Oracle: the operation applied by hand to the same dataset.
"""

import pytest
from comfy_server import ComfyServer, PromptError
from glitch_lora.dataset.captions import TriggerWord
from glitch_lora.dataset.folder import load_folder
from glitch_lora.glitch.step import corruption
from photographs import write_dataset
from test_nodes_dataset import CORRUPT, LOAD, TRIGGER, node, shown

pytestmark = pytest.mark.xdist_group("server")

CAPTIONS = {"severity": 1.0, "fraction": 1.0, "damage": "frozen", "seed": 3}
TAGS = {
    "operation": "glitch_tags",
    "operation.position": "suffix",
    "operation.severity_words": False,
    "operation.clean_word": "clean",
}


def chain(*last: dict) -> dict[str, dict]:
    """Return a graph: a folder, a trigger word, and the given nodes behind each other as "0", "1", ..."""
    prompt = {
        "load": node("GlitchLoadDataset", LOAD | {"folder": "input/shown"}),
        "trigger": node("GlitchTriggerWord", TRIGGER, dataset=["load", 0]),
    }
    for number, each in enumerate(last):
        before = str(number - 1) if number else "trigger"
        prompt[str(number)] = node(each["class_type"], each["inputs"], dataset=[before, 0])
    return prompt


def captions_of(server: ComfyServer, prompt: dict[str, dict], last: str) -> dict[str, str]:
    images = {"images": node("GlitchDatasetToImages", {"variant": 0}, dataset=[last, 0])}
    return shown(server, prompt | images, captions=["images", 1], report=[last, 1])


@pytest.fixture(scope="module")
def pictures(server: ComfyServer) -> ComfyServer:
    write_dataset(server.base / "input" / "shown", ["chelsea", "coffee", "rocket", "astronaut"])
    return server


def test_captions_come_out_as_the_operation_makes_them(pictures: ComfyServer) -> None:
    false = {"operation": "false_captions", "operation.scenes": ""}
    found = captions_of(pictures, chain(node("GlitchCorruptCaptions", CAPTIONS | false)), "0")
    before = load_folder(pictures.base / "input" / "shown").with_step(TriggerWord("prtkl"))
    after = before.with_step(corruption("false_captions", seed=3))
    by_hand = [after.caption(index) for index in range(4)]
    assert [line for line in by_hand if line not in found["captions"]] == []
    assert sorted(by_hand) == sorted(before.caption(index) for index in range(4))
    assert found["report"].startswith("Captions changed: 4 of 4") and "before: prtkl, a photo of" in found["report"]


def test_tags_name_the_damage_of_another_node(pictures: ComfyServer) -> None:
    damage = node("GlitchCorruptDataset", CORRUPT | {"fraction": 0.5, "seed": 1})
    found = captions_of(pictures, chain(damage, node("GlitchCorruptCaptions", CAPTIONS | TAGS)), "1")
    step = corruption("jpeg_recompression", {"quality": 20}, fraction=0.5, seed=1)
    hit = load_folder(pictures.base / "input" / "shown").with_step(TriggerWord("prtkl")).with_step(step)
    count = sum(bool(hit.marked(index).damage) for index in range(4))
    assert 0 < count < 4
    assert found["captions"].count("glx_jpeg") == count and found["captions"].count("clean") == 4 - count


def test_an_unknown_operation_is_refused(pictures: ComfyServer) -> None:
    with pytest.raises(PromptError, match="operation"):
        captions_of(pictures, chain(node("GlitchCorruptCaptions", CAPTIONS | {"operation": "meteor"})), "0")
