"""Reports on the canvas of a real browser: what a node found or saved is read on the node."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from canvas import canvas, reopen
from comfy_server import ComfyServer
from glitch_lora.training.run import RunWriter, content_key

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
_SAVING = """async () => {
  app.graph.clear()
  const add = (type, place) => {
    const node = LiteGraph.createNode(type)
    app.graph.add(node)
    node.pos = place
    return node
  }
  const run = add("GlitchOpenRun", [100, 60]), image = add("EmptyImage", [100, 500])
  run.connect(0, add("GlitchSaveLora", [500, 60]), 0)
  run.connect(0, add("GlitchSaveEmbedding", [900, 60]), 0)
  image.connect(0, add("GlitchMeasureImages", [500, 500]), 0)
  await app.queuePrompt(0)
}"""
_REPORTS = """() => Object.fromEntries(app.graph._nodes
  .map(node => [node.type, node.widgets?.find(widget => widget.name === "report")?.element])
  .filter(([, box]) => box?.value)
  .map(([type, box]) => [type, [box.value, box.offsetHeight]]))"""


@pytest.fixture(scope="module")
def page(server: ComfyServer, chromium: str) -> Iterator[Any]:
    writer = RunWriter.create(server.base / "output" / "glitch_lora", content_key("reports"), "reports", {})
    trained = {"lora_unet_a.lora_up.weight": torch.ones(4, 2), "lora_unet_a.lora_down.weight": torch.ones(2, 4)}
    writer.save_checkpoint(10, trained | {"bundle_emb.zorvek.clip_l": torch.ones(1, 768)}, {"ss_steps": "10"})
    with canvas(server, chromium) as opened:
        yield opened


@pytest.mark.parametrize("vue", [False, True], ids=["classic", "nodes 2.0"])
def test_the_report_is_on_the_node(page: Any, server: ComfyServer, vue: bool) -> None:
    server.post("/settings", {"Comfy.VueNodes.Enabled": vue})
    reopen(page)
    page.evaluate(_BUILD)
    page.wait_for_function(f"() => {_SHOWN}?.startsWith('prtkl: ')", timeout=60_000)
    box = page.locator("textarea[readonly]").first
    box.wait_for()
    assert box.bounding_box()["height"] >= 100, "there is room to read it"
    made = page.evaluate("() => app.graphToPrompt()")
    (sent,) = (node for node in made["output"].values() if node["class_type"] == "GlitchInspectTrigger")
    assert "report" not in sent["inputs"]
    (kept,) = (node for node in made["workflow"]["nodes"] if node["type"] == "GlitchInspectTrigger")
    assert not any(str(value).startswith("prtkl: ") for value in kept["widgets_values"])


@pytest.mark.parametrize("vue", [False, True], ids=["classic", "nodes 2.0"])
def test_what_was_saved_and_measured_is_on_the_nodes(page: Any, server: ComfyServer, vue: bool) -> None:
    server.post("/settings", {"Comfy.VueNodes.Enabled": vue})
    reopen(page)
    page.evaluate(_SAVING)
    page.wait_for_function(f"() => Object.keys(({_REPORTS})()).length === 3", timeout=60_000)
    page.wait_for_timeout(500)  # for the layout
    shown = page.evaluate(_REPORTS)
    assert shown["GlitchSaveLora"][0].startswith("Saved step 10 as ")
    assert "Put embedding:zorvek" in shown["GlitchSaveEmbedding"][0]
    assert "image 1" in shown["GlitchMeasureImages"][0]
    assert all(height >= 50 for _, height in shown.values()), "there is room to read it"
