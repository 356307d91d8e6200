"""Write the subgraph blueprints anew: ``python3 scripts/blueprints.py``, one for each preset with two sides.

ComfyUI lists them in its node library. A blueprint is a Dataset Preset and a Recipe Preset on one dial.
"""

import json
import sys
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SUBGRAPHS = ROOT / "subgraphs"
_SPACE = uuid.UUID("6f1b5c1e-9d0a-4c5e-8f5d-2f7a3f0c9b11")
_INSIDE, _OUTSIDE = -10, -20  # the front end's ids of a subgraph's own inputs and outputs
_DIAL, _DATASET, _RECIPE = 1, 2, 3
# (link, from node, its output, to node, its input, type)
_LINKS = (
    (1, _INSIDE, 0, _DATASET, 0, "GLITCH_DATASET"),
    (2, _INSIDE, 1, _RECIPE, 0, "GLITCH_RECIPE"),
    (3, _DIAL, 0, _DATASET, 2, "FLOAT"),
    (4, _DIAL, 0, _RECIPE, 2, "FLOAT"),
    (5, _DATASET, 0, _OUTSIDE, 0, "GLITCH_DATASET"),
    (6, _RECIPE, 0, _OUTSIDE, 1, "GLITCH_RECIPE"),
    (7, _DATASET, 1, _OUTSIDE, 2, "STRING"),
)
_SOCKETS = (("dataset", "GLITCH_DATASET"), ("recipe", "GLITCH_RECIPE"))
_RESULTS = (*_SOCKETS, ("report", "STRING"))


def main() -> int:
    """Write every blueprint and remove those of presets that are gone; return 0."""
    from rerun import again_in_environment, in_environment

    if not in_environment():
        return again_in_environment(str(Path(__file__).resolve()))
    from as_package import register_pack

    register_pack()
    wanted = blueprints()
    for path in SUBGRAPHS.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    SUBGRAPHS.mkdir(exist_ok=True)
    for name, blueprint in wanted.items():
        (SUBGRAPHS / name).write_text(json.dumps(blueprint, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"subgraphs/{name}")
    return 0


def blueprints() -> dict[str, dict[str, Any]]:
    """Return the blueprints by file name."""
    from glitch_lora.glitch.presets import find_preset, presets_for

    both = [name for name in presets_for("dataset") if name in presets_for("recipe")]
    return {f"Glitch LoRA - {find_preset(name).title}.json": blueprint(find_preset(name)) for name in both}


def blueprint(preset: Any) -> dict[str, Any]:
    """Return a preset's blueprint in the form in which the front end saves one: version 0.4, one node on the canvas."""
    subgraph = _subgraph(preset)
    instance = {
        "id": 4,
        "type": subgraph["id"],
        "pos": [0, 0],
        "size": [270, 150],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [{"localized_name": name, "name": name, "type": kind, "link": None} for name, kind in _SOCKETS],
        "outputs": [{"localized_name": name, "name": name, "type": kind, "links": []} for name, kind in _RESULTS],
        "title": preset.title,
        "properties": {"proxyWidgets": [[str(_DIAL), "value"], [str(_DATASET), "seed"]]},
        "widgets_values": [],
    }
    head = {"revision": 0, "last_node_id": 4, "last_link_id": 0, "nodes": [instance], "links": [], "version": 0.4}
    return head | {"definitions": {"subgraphs": [subgraph]}}


def _subgraph(preset: Any) -> dict[str, Any]:
    return {
        "id": _identity(preset.name),
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": 3, "lastLinkId": len(_LINKS), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": preset.title,
        "inputNode": {"id": _INSIDE, "bounding": [-460, 60, 120, 80]},
        "outputNode": {"id": _OUTSIDE, "bounding": [420, 60, 120, 100]},
        "inputs": [_port(preset, "in", number) for number in range(len(_SOCKETS))],
        "outputs": [_port(preset, "out", number) for number in range(len(_RESULTS))],
        "widgets": [],
        "nodes": [_dial(), _dataset(preset), _recipe(preset)],
        "groups": [],
        "links": [
            dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), link, strict=True))
            for link in _LINKS
        ],
        "extra": {"workflowRendererVersion": "LG"},
        "category": "Glitch LoRA",
        "description": preset.why,
    }


def _dial() -> dict[str, Any]:
    return _node(
        _DIAL,
        "PrimitiveFloat",
        (-280, -120),
        [_input("value", "FLOAT", widget=True, label="intensity")],
        [_output("FLOAT", "FLOAT", [3, 4])],
        [1.0],
        {"min": 0, "max": 1, "step": 0.05, "precision": 2},
    )


def _dataset(preset: Any) -> dict[str, Any]:
    inputs = [
        _input("dataset", "GLITCH_DATASET", 1),
        _input("preset", "COMBO", widget=True),
        _input("intensity", "FLOAT", 3, widget=True),
        _input("seed", "INT", widget=True),
    ]
    outputs = [_output("dataset", "GLITCH_DATASET", [5]), _output("report", "STRING", [7])]
    return _node(_DATASET, "GlitchDatasetPreset", (60, -40), inputs, outputs, [preset.name, 1.0, 0, "fixed"])


def _recipe(preset: Any) -> dict[str, Any]:
    inputs = [
        _input("recipe", "GLITCH_RECIPE", 2),
        _input("preset", "COMBO", widget=True),
        _input("intensity", "FLOAT", 4, widget=True),
    ]
    outputs = [_output("recipe", "GLITCH_RECIPE", [6]), _output("report", "STRING", [])]
    return _node(_RECIPE, "GlitchRecipePreset", (60, 200), inputs, outputs, [preset.name, 1.0])


def _node(
    number: int,
    kind: str,
    place: tuple[int, int],
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    values: list[Any],
    properties: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "id": number,
        "type": kind,
        "pos": list(place),
        "size": [290, 150],
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": inputs,
        "outputs": outputs,
        "properties": {"Node name for S&R": kind} | (properties or {}),
        "widgets_values": values,
    }


def _input(name: str, kind: str, link: int | None = None, widget: bool = False, label: str = "") -> dict[str, Any]:
    more: dict[str, Any] = {"widget": {"name": name}} if widget else {}
    more |= {"label": label} if label else {}
    return {"localized_name": name, "name": name, "type": kind, **more, "link": link}


def _output(name: str, kind: str, links: list[int]) -> dict[str, Any]:
    return {"localized_name": name, "name": name, "type": kind, "links": links}


def _port(preset: Any, side: str, number: int) -> dict[str, Any]:
    """Return a subgraph's own input or output."""
    name, kind = (_SOCKETS if side == "in" else _RESULTS)[number]
    end = {"in": (1, 2, _INSIDE), "out": (3, 4, _OUTSIDE)}[side]
    links = [link[0] for link in _LINKS if (link[end[0]], link[end[1]]) == (end[2], number)]
    place = [-360 if side == "in" else 440, 80 + 20 * number]
    identity = _identity(preset.name, side, name)
    return {"id": identity, "name": name, "type": kind, "linkIds": links, "localized_name": name, "pos": place}


def _identity(*parts: str) -> str:
    return str(uuid.uuid5(_SPACE, "/".join(parts)))


if __name__ == "__main__":
    sys.exit(main())
