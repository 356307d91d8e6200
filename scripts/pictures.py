"""Take the pictures of the canvas: ``python3 scripts/pictures.py`` runs the shipped workflow and photographs it.

It writes docs/images/canvas.jpg, docs/images/grid.jpg and the workflow's thumbnail. The model is a network of random
weights, so the sweep shows noise; the photographs are real. Sizes and numbers of steps are those of scripts/demo.py.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from comfy_server import ComfyServer
from environment import ROOT
from rerun import again_in_environment, in_environment
from workflow import CHECKPOINT, DATASET, WORKFLOW

from demo import SMALLER

CANVAS = ROOT / "docs" / "images" / "canvas.jpg"
GRID = CANVAS.with_name("grid.jpg")
SIZE = (2000, 1250)
STEPS = {"steps": 24, "checkpoint_every": 8, "sample_every": 8}
MARGIN = 8

_LOWER = """(changes) => {
  for (const [type, values] of Object.entries(changes))
    for (const node of app.graph._nodes.filter(each => each.type === type))
      for (const [name, value] of Object.entries(values)) {
        const widget = node.widgets.find(each => each.name === name)
        widget.value = value
        widget.callback?.(value, app.canvas, node)
      }
}"""


def main() -> int:
    """Write the pictures; 0 when it went well."""
    if not in_environment():
        return again_in_environment(__file__)
    with tempfile.TemporaryDirectory() as folder:
        photograph_canvas(Path(os.environ["COMFYUI_PATH"]), Path(folder))
    return 0


def photograph_canvas(comfyui: Path, base: Path) -> None:
    """Run the workflow in the page of a server of its own, and write the pictures."""
    from canvas import canvas, fit_view, require_chromium

    with (
        ComfyServer(comfyui, sys.executable, base) as server,
        canvas(server, require_chromium(), SIZE) as page,
    ):
        _lay_out(comfyui, base)
        page.reload()
        page.wait_for_function(
            "() => window.app?.extensionManager && window.LiteGraph?.registered_node_types?.GlitchTrain && window.graph"
        )
        page.wait_for_timeout(3000)
        page.evaluate("workflow => app.loadGraphData(workflow)", json.loads(WORKFLOW.read_text(encoding="utf-8")))
        page.evaluate(_LOWER, SMALLER | {"GlitchRecipe": SMALLER["GlitchRecipe"] | STEPS})
        page.evaluate("() => app.queuePrompt(0)")
        _wait_for_history(server, page)
        left, top, width, height = fit_view(page)
        page.wait_for_timeout(3000)
        picture = base / "canvas.png"
        page.screenshot(path=picture)
    box = (left - MARGIN, top - MARGIN, left + width + MARGIN, top + height + MARGIN)
    _write_pictures(picture, box)
    _write_jpeg(next((base / "output").rglob("grid-1.png")), GRID)


def _lay_out(comfyui: Path, base: Path) -> None:
    from demo_photographs import write_photographs

    sys.path.append(str(comfyui))
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    from random_checkpoint import write_random_checkpoint

    write_random_checkpoint(base / "models" / "checkpoints" / CHECKPOINT)
    write_photographs(base / "input" / DATASET)


def _wait_for_history(server: ComfyServer, page: Any) -> None:
    while not server.get("/history"):
        page.wait_for_timeout(1000)
    (number,) = server.get("/history")
    server.wait(number)


def _write_pictures(picture: Path, box: tuple[float, float, float, float]) -> None:
    from PIL import Image

    with Image.open(picture) as image:
        graph = image.convert("RGB").crop(box)
    CANVAS.parent.mkdir(parents=True, exist_ok=True)
    for path, width in ((CANVAS, 1800), (WORKFLOW.with_suffix(".jpg"), 900)):
        small = graph.resize((width, round(width * graph.height / graph.width)), Image.Resampling.LANCZOS)
        small.save(path, quality=80, optimize=True)
        print(path, path.stat().st_size)


def _write_jpeg(picture: Path, path: Path) -> None:
    from PIL import Image

    with Image.open(picture) as image:
        image.convert("RGB").save(path, quality=80, optimize=True)
    print(path, path.stat().st_size)


if __name__ == "__main__":
    sys.exit(main())
