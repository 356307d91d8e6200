"""Inspect Trigger on the canvas of a real browser: the report is read where the word is typed."""

from collections.abc import Iterator
from typing import Any

import pytest
from canvas import canvas, find_chromium, reopen
from comfy_server import ComfyServer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

_NODE = 'app.graph._nodes.find(node => node.type === "GlitchInspectTrigger")'
_SHOWN = f'{_NODE}?.widgets.find(widget => widget.name === "report")?.element.value'
_BUILD = """async () => {
  app.graph.clear()
  const model = LiteGraph.createNode("GlitchLoadDemoModel"), node = LiteGraph.createNode("GlitchInspectTrigger")
  app.graph.add(model); app.graph.add(node)
  node.pos = [400, 60]
  model.connect(1, node, 0)
  await app.queuePrompt(0)
}"""


@pytest.fixture(scope="module")
def page(server: ComfyServer) -> Iterator[Any]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium: set GLITCH_CHROMIUM to its path")
    with canvas(server, chromium) as opened:
        yield opened


@pytest.mark.parametrize("vue", [False, True], ids=["classic", "nodes 2.0"])
def test_the_report_is_on_the_node(page: Any, server: ComfyServer, vue: bool) -> None:
    server.post("/settings", {"Comfy.VueNodes.Enabled": vue})
    reopen(page)
    page.evaluate(_BUILD)
    page.wait_for_function(f"() => {_SHOWN}?.startsWith('prtkl: free')", timeout=60_000)
    box = page.locator("textarea[readonly]").first
    box.wait_for()
    assert box.bounding_box()["height"] >= 100, "there is room to read it"
    made = page.evaluate("() => app.graphToPrompt()")
    (sent,) = (node for node in made["output"].values() if node["class_type"] == "GlitchInspectTrigger")
    assert "report" not in sent["inputs"]
    (kept,) = (node for node in made["workflow"]["nodes"] if node["type"] == "GlitchInspectTrigger")
    assert not any(str(value).startswith("prtkl: free") for value in kept["widgets_values"])
