"""Subgraph blueprints in the form in which the front end saves one: version 0.4, one node on the canvas."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

INSIDE, OUTSIDE = -10, -20  # the front end's ids of a subgraph's own inputs and outputs
_SPACE = uuid.UUID("6f1b5c1e-9d0a-4c5e-8f5d-2f7a3f0c9b11")


@dataclass(frozen=True)
class Subgraph:
    """name: never changed, the identity comes from it. sockets, results: (name, type) of its inputs and outputs.

    nodes: as `node` makes them, without links, their ids counted from 1. links: (from node, its output, to node, its
    input, type). dials: (node, widget) that show on the outside.
    """

    name: str
    title: str
    description: str
    sockets: Sequence[tuple[str, str]]
    results: Sequence[tuple[str, str]]
    nodes: Sequence[dict[str, Any]]
    links: Sequence[tuple[int, int, int, int, str]]
    dials: Sequence[tuple[int, str]]


def blueprint(made: Subgraph) -> dict[str, Any]:
    """Return the blueprint's file as JSON."""
    number = len(made.nodes) + 1
    instance = {
        "id": number,
        "type": _identity(made.name),
        "pos": [0, 0],
        "size": [270, 150],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [{"localized_name": name, "name": name, "type": kind, "link": None} for name, kind in made.sockets],
        "outputs": [{"localized_name": name, "name": name, "type": kind, "links": []} for name, kind in made.results],
        "title": made.title,
        "properties": {"proxyWidgets": [[str(place), widget] for place, widget in made.dials]},
        "widgets_values": [],
    }
    head = {"revision": 0, "last_node_id": number, "last_link_id": 0, "nodes": [instance], "links": [], "version": 0.4}
    return head | {"definitions": {"subgraphs": [_definition(made)]}}


def node(
    number: int,
    kind: str,
    place: tuple[int, int],
    inputs: list[dict[str, Any]],
    outputs: Sequence[tuple[str, str]],
    values: list[Any],
    properties: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a node without links. outputs: (name, type). values: of its widgets, in order."""
    return {
        "id": number,
        "type": kind,
        "pos": list(place),
        "size": [290, 150],
        "flags": {},
        "order": number - 1,
        "mode": 0,
        "inputs": inputs,
        "outputs": [{"localized_name": name, "name": name, "type": each, "links": []} for name, each in outputs],
        "properties": {"Node name for S&R": kind} | (properties or {}),
        "widgets_values": values,
    }


def socket(name: str, kind: str, widget: bool = False, label: str = "") -> dict[str, Any]:
    """Return an input of a node, without a link."""
    more: dict[str, Any] = {"widget": {"name": name}} if widget else {}
    more |= {"label": label} if label else {}
    return {"localized_name": name, "name": name, "type": kind, **more, "link": None}


def dial(number: int, place: tuple[int, int]) -> dict[str, Any]:
    """Return the number from 0 to 1 that moves everything."""
    return node(
        number,
        "PrimitiveFloat",
        place,
        [socket("value", "FLOAT", widget=True, label="intensity")],
        [("FLOAT", "FLOAT")],
        [1.0],
        {"min": 0, "max": 1, "step": 0.05, "precision": 2},
    )


def _definition(made: Subgraph) -> dict[str, Any]:
    numbered = [(number, *link) for number, link in enumerate(made.links, 1)]
    return {
        "id": _identity(made.name),
        "version": 1,
        "state": {
            "lastGroupId": 0,
            "lastNodeId": len(made.nodes),
            "lastLinkId": len(made.links),
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": made.title,
        "inputNode": {"id": INSIDE, "bounding": [-460, 60, 120, 80]},
        "outputNode": {"id": OUTSIDE, "bounding": [_right(made), 60, 120, 100]},
        "inputs": [_port(made, numbered, "in", place) for place in range(len(made.sockets))],
        "outputs": [_port(made, numbered, "out", place) for place in range(len(made.results))],
        "widgets": [],
        "nodes": [_linked(each, numbered) for each in made.nodes],
        "groups": [],
        "links": [
            dict(zip(("id", "origin_id", "origin_slot", "target_id", "target_slot", "type"), link, strict=True))
            for link in numbered
        ],
        "extra": {"workflowRendererVersion": "LG"},
        "category": "Glitch LoRA",
        "description": made.description,
    }


def _right(made: Subgraph) -> int:
    return max(each["pos"][0] for each in made.nodes) + 360


def _linked(each: dict[str, Any], links: list[tuple[Any, ...]]) -> dict[str, Any]:
    """Return a node with the numbers of the links that come in and go out."""
    inputs = [
        entry | {"link": next((link[0] for link in links if link[3:5] == (each["id"], slot)), None)}
        for slot, entry in enumerate(each["inputs"])
    ]
    outputs = [
        entry | {"links": [link[0] for link in links if link[1:3] == (each["id"], slot)]}
        for slot, entry in enumerate(each["outputs"])
    ]
    return each | {"inputs": inputs, "outputs": outputs}


def _port(made: Subgraph, links: list[tuple[Any, ...]], side: str, number: int) -> dict[str, Any]:
    """Return a subgraph's own input or output."""
    name, kind = (made.sockets if side == "in" else made.results)[number]
    ends = slice(1, 3) if side == "in" else slice(3, 5)
    found = [link[0] for link in links if link[ends] == (INSIDE if side == "in" else OUTSIDE, number)]
    place = [-360 if side == "in" else _right(made) + 20, 80 + 20 * number]
    identity = _identity(made.name, side, name)
    return {"id": identity, "name": name, "type": kind, "linkIds": found, "localized_name": name, "pos": place}


def _identity(*parts: str) -> str:
    return str(uuid.uuid5(_SPACE, "/".join(parts)))
