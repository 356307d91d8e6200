"""Load LoRA Weights in the real front end: the socket of its menu can be connected, sent and kept in a workflow.

Oracle: the front end itself, and what the server makes of the graph it sends.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from canvas import canvas, reopen
from comfy_server import ComfyServer
from glitch_lora.training.run import RunWriter, content_key

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("server")]

# As a user does it: choose "run" in the menu, and pull a wire from Open Run to what appears.
_BUILD = """async () => {
  app.graph.clear()
  const pause = () => new Promise(done => setTimeout(done, 500))
  const add = (type, x) => {
    const node = LiteGraph.createNode(type)
    node.pos = [x, 100]
    app.graph.add(node)
    return node
  }
  const open = add('GlitchOpenRun', 100), load = add('GlitchLoadLora', 500), show = add('PreviewAny', 900)
  await pause()
  const menu = load.widgets.find(widget => widget.name === 'source')
  menu.value = 'run'
  menu.callback?.('run', app.canvas, load)
  await pause()
  open.connect(0, load, load.inputs.findIndex(input => input.name === 'source.run'))
  load.connect(2, show, 0)
  await pause()
  await app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize())))
  await pause()
  return (await app.graphToPrompt()).output
}"""


@pytest.fixture(scope="module")
def page(server: ComfyServer, chromium: str) -> Iterator[Any]:
    writer = RunWriter.create(server.base / "output" / "glitch_lora", content_key("canvas"), "canvas", {})
    factors = {"lora_unet_a.lora_up.weight": torch.ones(4, 2), "lora_unet_a.lora_down.weight": torch.ones(2, 4)}
    writer.save_checkpoint(10, factors, {"ss_steps": "10"})
    with canvas(server, chromium) as opened:
        yield opened


@pytest.mark.parametrize("vue", [False, True], ids=["classic", "nodes 2.0"])
def test_a_run_can_be_connected_and_queued(page: Any, server: ComfyServer, vue: bool) -> None:
    server.post("/settings", {"Comfy.VueNodes.Enabled": vue})
    reopen(page)
    sent = page.evaluate(_BUILD)
    (load,) = (node for node in sent.values() if node["class_type"] == "GlitchLoadLora")
    opened = next(key for key, node in sent.items() if node["class_type"] == "GlitchOpenRun")
    assert load["inputs"] == {"source": "run", "source.run": [opened, 0], "source.step": -1}
    sent[opened]["inputs"]["run_name"] = next((server.base / "output" / "glitch_lora").glob("canvas*")).name
    (shown,) = (entry["text"][0] for entry in server.queue(sent)["outputs"].values() if "text" in entry)
    assert "1 layers (1 of rank 2)" in shown
