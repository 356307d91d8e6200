"""The dataset nodes in a real ComfyUI server, through its HTTP API.

What comes out is read with ComfyUI's own nodes (Preview as Text, Save Image) and compared with the files put in.
"""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfy_server import ComfyServer, PromptError
from photographs import photograph, write_dataset
from PIL import Image

pytestmark = pytest.mark.xdist_group("server")

LOAD = {
    "folder": "input/cats",
    "recursive": True,
    "captions": "auto",
    "missing_captions": "allow",
    "broken_images": "skip and report",
    "background": "#ffffff",
    "hold_out": 0.0,
    "seed": 0,
}
FRAME = {
    "framing": "fixed size",
    "framing.width": 64,
    "framing.height": 128,
    "framing.fit": "cover-crop",
    "framing.pad_colour": "#000000",
    "crop": "centre",
    "horizontal_flip": "none",
    "vertical_flip": "none",
    "max_resolution": 0,
    "resampling": "lanczos",
    "seed": 0,
}
CORRUPT = {
    "operation": "jpeg_recompression",
    "operation.quality": 20,
    "operation.subsampling": "4:2:0",
    "severity": 1.0,
    "fraction": 1.0,
    "damage": "frozen",
    "seed": 0,
}
TRIGGER = {"trigger": "prtkl", "position": "prefix", "separator": ", ", "placeholder": "[trigger]"}
PROMPTS = {
    "source": "text",
    "text": "",
    "trigger": "as is",
    "variations": 1,
    "seed": 0,
    "limit": 0,
    "choice": "first",
    "trigger_word": "",
    "caption_syntax": False,
}


def node(kind: str, inputs: dict[str, Any], **links: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs | links}


def shown(server: ComfyServer, prompt: dict[str, Any], **outputs: list[Any]) -> dict[str, str]:
    """Run the graph with ComfyUI's text preview on the given outputs and return what each shows."""
    views = {name: node("PreviewAny", {"source": link}) for name, link in outputs.items()}
    entry = server.queue(prompt | views)
    return {name: "\n".join(entry["outputs"][name]["text"]) for name in outputs}


def loaded(**changes: Any) -> dict[str, Any]:
    return {"load": node("GlitchLoadDataset", LOAD | changes)}


@pytest.fixture(scope="module")
def cats(server: ComfyServer) -> ComfyServer:
    write_dataset(server.base / "input" / "cats", ["chelsea", "coffee", "rocket"])
    return server


def test_the_whole_chain(cats: ComfyServer) -> None:
    prompt = loaded() | {
        "trigger": node("GlitchTriggerWord", TRIGGER, dataset=["load", 0]),
        "frame": node("GlitchFrameDataset", FRAME, dataset=["trigger", 0]),
        "corrupt": node("GlitchCorruptDataset", CORRUPT, dataset=["frame", 0]),
        "images": node("GlitchDatasetToImages", {"variant": 0}, dataset=["corrupt", 0]),
        "save": node("SaveImage", {"filename_prefix": "chain"}, images=["images", 0]),
        "sheet": node("GlitchPreviewDataset", {"columns": 2, "cell": 128, "limit": 32}, dataset=["corrupt", 0]),
        "captions": node("PreviewAny", {}, source=["images", 1]),
        "names": node("PreviewAny", {}, source=["images", 2]),
        "report": node("PreviewAny", {}, source=["corrupt", 1]),
    }
    entry = cats.queue(prompt)
    found = entry["outputs"]
    assert found["captions"]["text"] == [f"prtkl, a photo of {name}" for name in ("chelsea", "coffee", "rocket")]
    assert found["names"]["text"] == ["chelsea.png", "coffee.png", "rocket.png"]
    assert "64x128: 3" in found["report"]["text"][0] and "jpeg_recompression" in found["report"]["text"][0]
    assert "Warning: a corruption" not in found["report"]["text"][0]
    assert found["sheet"]["images"][0]["type"] == "temp"
    saved = [cats.base / "output" / picture["filename"] for picture in found["save"]["images"]]
    assert len(saved) == 3
    for path, name in zip(saved, ("chelsea", "coffee", "rocket"), strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(by_hand(photograph(name))))


def by_hand(image: Image.Image) -> Image.Image:
    """Frame to 64x128 and recompress with Pillow alone."""
    import io

    width = round(image.width * 128 / image.height)
    left = (width - 64) // 2
    framed = image.resize((width, 128), Image.Resampling.LANCZOS).crop((left, 0, left + 64, 128))
    buffer = io.BytesIO()
    framed.save(buffer, "JPEG", quality=20, subsampling="4:2:0")
    return Image.open(buffer).convert("RGB")


def test_a_corruption_before_the_framing_is_warned_about(cats: ComfyServer) -> None:
    prompt = loaded() | {
        "corrupt": node("GlitchCorruptDataset", CORRUPT, dataset=["load", 0]),
        "frame": node("GlitchFrameDataset", FRAME, dataset=["corrupt", 0]),
    }
    assert "resizing will soften it" in shown(cats, prompt, report=["frame", 1])["report"]


def test_images_become_a_dataset_and_come_back(cats: ComfyServer) -> None:
    prompt = loaded() | {
        "images": node("GlitchDatasetToImages", {"variant": 0}, dataset=["load", 0]),
        "again": node("GlitchDatasetFromImages", {}, images=["images", 0], captions=["images", 1]),
        "back": node("GlitchDatasetToImages", {"variant": 0}, dataset=["again", 0]),
        "save": node("SaveImage", {"filename_prefix": "back"}, images=["back", 0]),
        "captions": node("PreviewAny", {}, source=["back", 1]),
    }
    found = cats.queue(prompt)["outputs"]
    assert found["captions"]["text"] == [f"a photo of {name}" for name in ("chelsea", "coffee", "rocket")]
    for picture, name in zip(found["save"]["images"], ("chelsea", "coffee", "rocket"), strict=True):
        pixels = np.asarray(Image.open(cats.base / "output" / picture["filename"]))
        assert np.array_equal(pixels, np.asarray(photograph(name)))


def test_a_wrong_number_of_captions_is_refused_with_both_counts(cats: ComfyServer) -> None:
    two = PROMPTS | {"text": "one\ntwo"}
    prompt = loaded() | {
        "images": node("GlitchDatasetToImages", {"variant": 0}, dataset=["load", 0]),
        "two": node("GlitchPromptSet", two),
        "again": node("GlitchDatasetFromImages", {}, images=["images", 0], captions=["two", 0]),
    }
    with pytest.raises(PromptError, match="got 2 for 3 images"):
        shown(cats, prompt, report=["again", 1])


def test_an_edited_caption_is_seen_by_the_next_queue(cats: ComfyServer) -> None:
    folder = write_dataset(cats.base / "input" / "edited", ["coffee"])
    prompt = loaded(folder="input/edited") | {
        "images": node("GlitchDatasetToImages", {"variant": 0}, dataset=["load", 0])
    }
    assert shown(cats, prompt, caption=["images", 1])["caption"] == "a photo of coffee"
    (folder / "coffee.txt").write_text("changed by hand")
    assert shown(cats, prompt, caption=["images", 1])["caption"] == "changed by hand"
    photograph("rocket").save(folder / "coffee.png")
    width, height = photograph("rocket").size
    assert f"{width}x{height}: 1" in shown(cats, prompt, report=["load", 2])["report"]


def test_new_folders_are_listed_at_once(cats: ComfyServer) -> None:
    def options() -> list[str]:
        return cats.get("/object_info/GlitchLoadDataset")["GlitchLoadDataset"]["input"]["required"]["folder"][1][
            "options"
        ]

    assert "input/cats" in options() and "input/later" not in options()
    write_dataset(cats.base / "input" / "later", ["coffee"])
    assert "input/later" in options()
    assert cats.get("/glitch_lora/datasets") == options()


@pytest.mark.parametrize(
    "folder", ["input/nothing", "/etc", "input/../..", "input/cats/../cats", "models/loras", "input"]
)
def test_folders_outside_the_roots_are_refused_before_anything_runs(cats: ComfyServer, folder: str) -> None:
    with pytest.raises(
        PromptError, match="allowed are folders under ComfyUI's input, output or datasets folder"
    ) as error:
        shown(cats, loaded(folder=folder), report=["load", 2])
    assert not error.value.entry and repr(folder) in str(error.value)


@pytest.mark.parametrize(
    ("kind", "inputs", "name"),
    [("GlitchFrameDataset", FRAME, "framing"), ("GlitchCorruptDataset", CORRUPT, "operation")],
)
def test_an_unknown_choice_in_a_dynamic_combo_is_named(
    cats: ComfyServer, kind: str, inputs: dict[str, Any], name: str
) -> None:
    prompt = loaded() | {"step": node(kind, inputs | {name: "sideways"}, dataset=["load", 0])}
    with pytest.raises(PromptError, match=f"{name}: got 'sideways', allowed"):
        shown(cats, prompt, report=["step", 1])
    del prompt["step"]["inputs"][name]
    with pytest.raises(PromptError, match=f"{name}: got None, allowed"):
        shown(cats, prompt, report=["step", 1])


def test_a_broken_file_is_skipped_or_refused(cats: ComfyServer) -> None:
    folder = write_dataset(cats.base / "input" / "mixed", ["coffee"])
    (folder / "zz.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photograph")
    assert "Skipped as broken (1):\n  zz.jpg" in shown(cats, loaded(folder="input/mixed"), r=["load", 2])["r"]
    with pytest.raises(PromptError, match=r"zz\.jpg"):
        shown(cats, loaded(folder="input/mixed", broken_images="refuse"), r=["load", 2])


def test_held_out_captions_are_prompts(cats: ComfyServer) -> None:
    prompt = loaded(hold_out=0.35) | {
        "train": node("GlitchDatasetToImages", {"variant": 0}, dataset=["load", 0]),
        "set": node("GlitchPromptSet", PROMPTS | {"source": "captions"}, dataset=["load", 1]),
    }
    found = shown(cats, prompt, trained=["train", 1], held=["set", 0])
    trained = found["trained"].splitlines()
    assert len(trained) == 2 and found["held"] not in trained
    with pytest.raises(PromptError, match="got no pictures"):
        shown(cats, prompt | loaded(), held=["set", 0])


def test_variations_run_a_graph_once_a_picture(cats: ComfyServer) -> None:
    settings = PROMPTS | {"text": "a cat\n(a dog:1.2)", "variations": 2, "seed": 5}
    prompt = {"set": node("GlitchPromptSet", settings)}
    found = shown(cats, prompt, prompts=["set", 0], text=["set", 1], seeds=["set", 2], names=["set", 3])
    assert found["prompts"] == "a cat\na cat\n(a dog:1.2)\n(a dog:1.2)"
    assert found["seeds"] == "5\n6\n5\n6"
    assert found["names"].splitlines() == ["001-a-cat-v1", "001-a-cat-v2", "002-a-dog-1-2-v1", "002-a-dog-1-2-v2"]
    assert found["text"] == "a cat\n(a dog:1.2)"


def test_caption_files_can_be_uploaded_beside_pictures(cats: ComfyServer, tmp_path: Path) -> None:
    """ComfyUI's own upload route takes what the node's drop target sends."""
    write_dataset(tmp_path, ["rocket"])
    for name in ("rocket.png", "rocket.txt"):
        upload(cats, tmp_path / name, "dropped")
    prompt = loaded(folder="input/dropped") | {
        "images": node("GlitchDatasetToImages", {"variant": 0}, dataset=["load", 0])
    }
    assert shown(cats, prompt, caption=["images", 1])["caption"] == "a photo of rocket"


def test_a_new_folder_is_claimed_by_a_post(cats: ComfyServer) -> None:
    names = [cats.post("/glitch_lora/new_dataset", {"name": "fresh"})["name"] for _ in range(2)]
    assert names == ["fresh", "fresh-2"] and all((cats.base / "input" / name).is_dir() for name in names)
    assert not {f"input/{name}" for name in names} & set(cats.get("/glitch_lora/datasets"))
    assert {".png", ".jpg"} <= set(cats.get("/glitch_lora/picture_extensions"))
    before = sorted((cats.base / "input").iterdir())
    for body in ({}, {"name": 7}, ["name"], None):
        with pytest.raises(urllib.error.HTTPError) as refused:
            cats.post("/glitch_lora/new_dataset", body)
        assert refused.value.code == 400 and b"name: got" in refused.value.read()
    with pytest.raises(urllib.error.HTTPError):  # looking must not make anything
        cats.get("/glitch_lora/new_dataset?name=looked")
    assert sorted((cats.base / "input").iterdir()) == before


def upload(server: ComfyServer, path: Path, subfolder: str) -> None:
    edge = "----edge"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="{path.name}"\r\n\r\n'.encode()
    place = f'\r\n--{edge}\r\nContent-Disposition: form-data; name="subfolder"\r\n\r\n{subfolder}\r\n--{edge}--\r\n'
    body = head + path.read_bytes() + place.encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={edge}"}
    request = urllib.request.Request(f"{server.url}/upload/image", body, headers)
    with urllib.request.urlopen(request) as answer:
        assert json.loads(answer.read()) == {"name": path.name, "subfolder": subfolder, "type": "input"}


def test_the_contact_sheet_runs_alone(cats: ComfyServer) -> None:
    prompt = loaded() | {
        "sheet": node("GlitchPreviewDataset", {"columns": 2, "cell": 128, "limit": 0}, dataset=["load", 0])
    }
    (picture,) = cats.queue(prompt)["outputs"]["sheet"]["images"]
    with Image.open(cats.base / "temp" / picture["filename"]) as sheet:
        assert sheet.width == 2 * (128 + 12) + 12
        chelsea = np.asarray(photograph("chelsea").resize((128, 85), Image.Resampling.LANCZOS), float)
        top = 12 + (128 - 85) // 2
        assert np.abs(np.asarray(sheet, float)[top : top + 85, 12:140] - chelsea).mean() < 3
