"""Subgraph blueprints: they are what their script writes, ComfyUI lists them, and they run.

Oracle: ComfyUI's own list of blueprints, and the same graph drawn without a subgraph.
"""

import json
import urllib.request
from pathlib import Path
from typing import Any

import blueprints
import pytest
from comfy_server import ComfyServer
from glitch_lora.glitch.presets import PRESETS, presets_for
from photographs import write_dataset
from test_nodes_dataset import LOAD, node, shown
from workflow_to_api import to_api

FILES = sorted(blueprints.SUBGRAPHS.glob("*.json"))
BENDING = [preset.title for preset in PRESETS.values() if preset.bends]
TWO_SIDED = [path for path in FILES if path.stem.removeprefix("Glitch LoRA - ") not in BENDING]


def inside(path: Path) -> dict[str, Any]:
    """Return the subgraph that a blueprint defines."""
    (subgraph,) = json.loads(path.read_text(encoding="utf-8"))["definitions"]["subgraphs"]
    return subgraph


def test_the_files_are_what_the_script_writes() -> None:
    wanted = {name: json.loads(json.dumps(made)) for name, made in blueprints.blueprints().items()}
    assert {path.name: json.loads(path.read_text(encoding="utf-8")) for path in FILES} == wanted, (
        "run: python3 scripts/blueprints.py"
    )
    assert len(TWO_SIDED) == len(set(presets_for("dataset")) & set(presets_for("recipe"))) >= 8
    assert len(FILES) == len(TWO_SIDED) + len(BENDING)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_wires_fit_the_sockets_of_both_ends(path: Path) -> None:
    subgraph = inside(path)
    ends = {each["id"]: each for each in subgraph["nodes"]}
    ends[-10] = {"outputs": [port | {"links": port["linkIds"]} for port in subgraph["inputs"]]}
    ends[-20] = {"inputs": [port | {"link": port["linkIds"][0]} for port in subgraph["outputs"]]}
    for link in subgraph["links"]:
        source = ends[link["origin_id"]]["outputs"][link["origin_slot"]]
        target = ends[link["target_id"]]["inputs"][link["target_slot"]]
        assert source["type"] == target["type"] == link["type"]
        assert link["id"] in source["links"] and target["link"] == link["id"]


@pytest.mark.xdist_group("server")
def test_comfyui_lists_them(server: ComfyServer) -> None:
    with urllib.request.urlopen(f"{server.url}/global_subgraphs") as answer:
        listed = json.load(answer)
    ours = {entry["name"]: key for key, entry in listed.items() if entry["name"].startswith("Glitch LoRA")}
    assert set(ours) == {path.stem for path in FILES}


@pytest.mark.xdist_group("server")
@pytest.mark.parametrize("path", TWO_SIDED, ids=lambda path: path.stem)
def test_a_blueprint_is_its_two_nodes_on_one_dial(server: ComfyServer, path: Path) -> None:
    found = to_api(json.loads(path.read_text(encoding="utf-8")), server.object_info())
    kinds = {each["class_type"]: each["inputs"] for each in found.values()}
    assert set(kinds) == {"PrimitiveFloat", "GlitchDatasetPreset", "GlitchRecipePreset"}
    (dial,) = [key for key, each in found.items() if each["class_type"] == "PrimitiveFloat"]
    name = kinds["GlitchDatasetPreset"]["preset"]
    assert PRESETS[name].title == inside(path)["name"]
    assert kinds["GlitchRecipePreset"] == {"preset": name, "intensity": [dial, 0]}
    assert kinds["GlitchDatasetPreset"] == {"preset": name, "intensity": [dial, 0], "seed": 0}


@pytest.mark.xdist_group("server")
def test_a_blueprint_runs_like_its_node(server: ComfyServer) -> None:
    write_dataset(server.base / "input" / "blueprint", ["chelsea", "coffee", "rocket"])
    path = next(path for path in FILES if "Schwitters" in path.name)
    expanded = to_api(json.loads(path.read_text(encoding="utf-8")), server.object_info())
    (preset,) = [key for key, each in expanded.items() if each["class_type"] == "GlitchDatasetPreset"]
    kept = {key: each for key, each in expanded.items() if each["class_type"] != "GlitchRecipePreset"}
    kept[preset]["inputs"]["dataset"] = ["load", 0]
    load = {"load": node("GlitchLoadDataset", LOAD | {"folder": "input/blueprint"})}
    drawn = node("GlitchDatasetPreset", {"preset": "schwitters", "intensity": 1.0, "seed": 0}, dataset=["load", 0])
    prompt = load | kept | {"drawn": drawn}
    found = shown(server, prompt, first=[preset, 1], second=["drawn", 1])
    assert found["first"] == found["second"] and "Schwitters" in found["first"]
