"""Blueprints opened in the real front end.

Oracle: the front end itself, which must send what the files say and show the dials outside.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blueprints
import pytest
from canvas import canvas
from comfy_server import ComfyServer
from workflow_to_api import to_api

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("server")]

FILES = sorted(blueprints.SUBGRAPHS.glob("*.json"))
_INSIDE = """() => app.graph._nodes[0].subgraph._nodes.map(
  node => [node.type, node.has_errors || !LiteGraph.registered_node_types[node.type]])"""


@pytest.fixture(scope="module")
def page(server: ComfyServer, chromium: str) -> Iterator[Any]:
    with canvas(server, chromium) as opened:
        yield opened


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_blueprint_opens_as_one_node_with_its_dials(page: Any, server: ComfyServer, path: Path) -> None:
    made = json.loads(path.read_text(encoding="utf-8"))
    page.evaluate("made => app.loadGraphData(made)", made)
    page.wait_for_function(f"() => app.graph._nodes[0]?.type === {json.dumps(made['nodes'][0]['type'])}")
    page.wait_for_timeout(500)
    shown = page.evaluate("() => app.graph._nodes[0].widgets.map(widget => [widget.name, widget.label, widget.value])")
    assert shown[0] == ["value", "intensity", 1]
    assert [name for name, _, _ in shown] == [name for _, name in made["nodes"][0]["properties"]["proxyWidgets"]]
    inside = page.evaluate(_INSIDE)
    assert [kind for kind, _ in inside] == [node["type"] for node in made["definitions"]["subgraphs"][0]["nodes"]]
    assert [kind for kind, lost in inside if lost] == []
    sent = page.evaluate("async () => (await app.graphToPrompt()).output")
    wanted = to_api(made, server.object_info())
    assert {key: [each["class_type"], each["inputs"]] for key, each in sent.items()} == {
        key: [each["class_type"], each["inputs"]] for key, each in wanted.items()
    }
