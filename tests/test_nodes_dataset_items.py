"""Select, merge, audit and save in a real ComfyUI server, through its HTTP API.

What is saved is read by ComfyUI's own dataset loader; pictures are compared with the files put in.
"""

import json
import re
from typing import Any

import numpy as np
import pytest
from comfy_server import ComfyServer, PromptError
from photographs import photograph, write_dataset
from PIL import Image

pytestmark = pytest.mark.xdist_group("server")

LOAD = {
    "folder": "input/items",
    "recursive": True,
    "captions": "auto",
    "missing_captions": "allow",
    "broken_images": "skip and report",
    "background": "#ffffff",
    "hold_out": 0.0,
    "seed": 0,
}
SELECT = {
    "numbers": "",
    "contains": "",
    "lacks": "",
    "min_side": 0,
    "max_side": 0,
    "finding": "any",
    "count": 0,
    "seed": 0,
    "invert": False,
    "repeats": 1,
}
AUDIT = {
    "trigger": "",
    "drop": "nothing",
    "duplicates": "keep",
    "append_colours": False,
    "smallest_side": 256,
    "columns": 3,
    "limit": 32,
    "table_format": "CSV",
}
SAVE = {"name": "saved", "place": "output", "variants": 1, "measures": False}
TRIGGER = {"trigger": "prtkl", "position": "prefix", "separator": ", ", "placeholder": "[trigger]"}


def node(kind: str, inputs: dict[str, Any], **links: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs | links}


def shown(server: ComfyServer, prompt: dict[str, Any], **outputs: list[Any]) -> dict[str, str]:
    """Run the graph with ComfyUI's text preview on the given outputs and return what each shows."""
    views = {name: node("PreviewAny", {"source": link}) for name, link in outputs.items()}
    entry = server.queue(prompt | views)
    return {name: "\n".join(entry["outputs"][name]["text"]) for name in outputs}


def images(dataset: list[Any]) -> dict[str, Any]:
    return node("GlitchDatasetToImages", {"variant": 0}, dataset=dataset)


@pytest.fixture(scope="module")
def items(server: ComfyServer) -> ComfyServer:
    folder = write_dataset(server.base / "input" / "items", ["astronaut", "chelsea", "coffee", "rocket"])
    photograph("coffee").resize((360, 240)).save(folder / "double.png")
    (folder / "double.txt").write_text("the same cup")
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photograph")
    return server


def test_selected_and_rest_go_their_ways_and_come_together(items: ComfyServer) -> None:
    prompt = {
        "load": node("GlitchLoadDataset", LOAD),
        "select": node("GlitchSelectItems", SELECT | {"contains": "coffee", "repeats": 3}, dataset=["load", 0]),
        "trigger": node("GlitchTriggerWord", TRIGGER, dataset=["select", 0]),
        "merge": node(
            "GlitchMergeDatasets",
            {"share": 0.0, "repeats": 1, "seed": 0},
            dataset=["trigger", 0],
            **{"others.other0": ["select", 1]},
        ),
        "images": images(["merge", 0]),
    }
    found = shown(items, prompt, captions=["images", 1], report=["merge", 1], told=["select", 2])
    assert found["captions"].splitlines() == [
        "prtkl, a photo of coffee",
        "a photo of astronaut",
        "a photo of chelsea",
        "the same cup",
        "a photo of rocket",
    ]
    assert found["report"].startswith("5 pictures; 7 per epoch with repeats.")
    assert found["told"].startswith("Selected 1 of 5 pictures.")


def test_an_audits_finding_selects(items: ComfyServer) -> None:
    prompt = {
        "load": node("GlitchLoadDataset", LOAD),
        "select": node("GlitchSelectItems", SELECT | {"finding": "near duplicate"}, dataset=["load", 0]),
        "images": images(["select", 0]),
    }
    assert shown(items, prompt, names=["images", 2])["names"] == "double.png"
    prompt["select"]["inputs"]["numbers"] = "1-99"
    with pytest.raises(PromptError, match="numbers: got '1-99', allowed numbers and ranges from 1 to 5"):
        shown(items, prompt, names=["images", 2])


def test_the_audit_runs_alone_and_repairs(items: ComfyServer) -> None:
    changes = {"duplicates": "drop exact and near", "trigger": "coffee", "append_colours": True}
    prompt = {
        "load": node("GlitchLoadDataset", LOAD),
        "audit": node("GlitchAuditDataset", AUDIT | changes, dataset=["load", 0]),
    }
    (picture,) = items.queue(prompt)["outputs"]["audit"]["images"]
    with Image.open(items.base / "temp" / picture["filename"]) as sheet:
        assert sheet.width == 3 * (256 + 12) + 12 and sheet.getpixel((11, 11)) == (239, 68, 68)
    prompt["images"] = images(["audit", 0])
    found = shown(items, prompt, names=["images", 2], report=["audit", 2], table=["audit", 3], texts=["images", 1])
    assert found["names"].splitlines() == ["astronaut.png", "chelsea.png", "coffee.png", "rocket.png"]
    assert "Defect: unreadable (1)" in found["report"] and "torn.jpg: " in found["report"]
    assert "in 1 of 5 captions" in found["report"] and "Left out: 1 picture." in found["report"]
    assert found["table"].startswith("severity,kind,number,name,detail,fix\ndefect,unreadable,,torn.jpg,")
    assert re.fullmatch(r"a photo of coffee, \w+.*", found["texts"].splitlines()[2])


def test_what_is_saved_is_read_by_our_loader_and_by_comfyuis(items: ComfyServer) -> None:
    prompt = {
        "load": node("GlitchLoadDataset", LOAD),
        "select": node("GlitchSelectItems", SELECT | {"numbers": "1-3", "repeats": 2}, dataset=["load", 0]),
        "save": node("GlitchSaveDataset", SAVE | {"measures": True}, dataset=["select", 0]),
        "images": images(["save", 1]),
    }
    found = shown(items, prompt, folder=["save", 0], report=["save", 2], names=["images", 2])
    folder = items.base / "output" / "saved"
    assert found["folder"] == "output/saved" and found["report"].startswith("Saved 3 pictures as output/saved.")
    assert found["names"].splitlines()[0] == "2_saved/01_astronaut.png"
    (first, *_) = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert first["before"] == first["after"] and first["after"]["blur"] > 0
    with Image.open(folder / "2_saved" / "02_chelsea.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(photograph("chelsea")))
    assert "output/saved" in items.get("/glitch_lora/datasets")
    again = {"load": node("GlitchLoadDataset", LOAD | {"folder": "output/saved"}), "images": images(["load", 0])}
    assert shown(items, again, texts=["images", 1])["texts"].splitlines()[0] == "a photo of astronaut"
    folder.rename(items.base / "input" / "moved")
    native = {
        "native": node("LoadImageTextDataSetFromFolder", {"folder": "moved"}),
        "save": node("SaveImage", {"filename_prefix": "native"}, images=["native", 0]),
    }
    entry = items.queue(native | {"texts": node("PreviewAny", {}, source=["native", 1])})["outputs"]
    assert len(entry["save"]["images"]) == 6
    assert sorted(entry["texts"]["text"])[0] == "a photo of astronaut"


def test_nothing_is_overwritten_and_odd_names_stay_inside(items: ComfyServer) -> None:
    (items.base / "output" / "kept").mkdir()
    prompt = {"load": node("GlitchLoadDataset", LOAD), "save": node("GlitchSaveDataset", SAVE, dataset=["load", 0])}
    places = {}
    for name in ("kept", "../../etc", "glitch_lora", "a.png", ""):
        prompt["save"]["inputs"]["name"] = name
        places[name] = shown(items, prompt, folder=["save", 0])["folder"]
    assert places == {
        "kept": "output/kept-2",
        "../../etc": "output/etc",
        "glitch_lora": "output/glitch_lora-2",
        "a.png": "output/a-png",
        "": "output/dataset-1",
    }
    assert list((items.base / "output" / "kept").iterdir()) == []
    prompt["save"]["inputs"]["name"] = "../nc saved.set"
    told = shown(items, prompt, report=["save", 2])["report"]
    assert "The folder is called 'nc saved-set' instead of '../nc saved.set'" in told
    assert (items.base / "output" / "nc saved-set" / "1_nc saved-set").is_dir()
    prompt["save"]["inputs"] |= {"place": "datasets", "name": "kept"}
    assert shown(items, prompt, folder=["save", 0])["folder"] == "datasets/kept"


def test_what_is_saved_keeps_its_trigger_and_tells_of_damage_that_waits(items: ComfyServer) -> None:
    noise = {"std": 1.0, "colour": "white", "cell": 4, "same_for_all_channels": False}
    damage = {"operation": "latent_noise", "severity": 1.0, "fraction": 1.0, "damage": "frozen", "seed": 0}
    damage |= {f"operation.{name}": value for name, value in noise.items()}
    prompt = {
        "load": node("GlitchLoadDataset", LOAD),
        "trigger": node("GlitchTriggerWord", TRIGGER, dataset=["load", 0]),
        "noise": node("GlitchCorruptDataset", damage, dataset=["trigger", 0]),
        "save": node("GlitchSaveDataset", SAVE | {"name": "waiting"}, dataset=["noise", 0]),
        "audit": node("GlitchAuditDataset", AUDIT, dataset=["save", 1]),
    }
    told = shown(items, prompt, report=["save", 2], found=["audit", 2])
    assert "Not in the files: latent_noise (5 pictures)." in told["report"]
    assert "known_trigger: word prtkl" in told["report"]
    assert "Trigger 'prtkl': in 5 of 5 captions." in told["found"]


def test_nothing_selected_is_said_and_what_to_do(items: ComfyServer) -> None:
    prompt = {
        "load": node("GlitchLoadDataset", LOAD),
        "select": node("GlitchSelectItems", SELECT | {"contains": "unicorn"}, dataset=["load", 0]),
    }
    told = shown(items, prompt, report=["select", 2])["report"]
    assert told.startswith("Selected 0 of 5 pictures. No picture passes every test that is set: select others")
    with pytest.raises(PromptError, match="got no pictures, .* select others"):
        shown(items, prompt | {"images": images(["select", 0])}, names=["images", 2])
