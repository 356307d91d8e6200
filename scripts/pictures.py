"""Take the pictures of the canvas: ``python3 scripts/pictures.py [NAME]`` runs the demo as shipped and photographs it.

It writes docs/images/canvas.jpg, docs/images/grid.jpg and the workflows' thumbnails. 01-train-and-sweep, which needs a
model that is not here, is photographed as it opens; the others are run as shipped. The thumbnails of 02-databend-bench,
03-glitch-tags and 06-pivotal-diary are their results: what the benches made, and the grids. With one of these names
only that thumbnail is made.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from comfy_server import ComfyServer
from environment import ROOT
from plan_bench import BENCH, PICTURE
from plan_demo import DEMO
from plan_diary import DIARY
from plan_tags import TAGS
from plan_train import TRAIN
from plans import Plan
from rerun import again_in_environment, in_environment
from workflow import lay_out_names

CANVAS = ROOT / "docs" / "images" / "canvas.jpg"
GRID = CANVAS.with_name("grid.jpg")
GRID_SIDE = 1600  # pixels at most; small enough for a page, and its labels can be read
SIZE = (2000, 1250)
THUMBNAIL_PHOTOGRAPH = "astronaut.png"
MARGIN = 8
# Workflows whose thumbnail is their result: the nodes that show it, and how many pictures stand side by side.
RESULTS = {
    BENCH.name: (BENCH, "PreviewImage", 2),
    TAGS.name: (TAGS, "GlitchGrid", 1),
    DIARY.name: (DIARY, "GlitchGrid", 1),
}


def main() -> int:
    """Write the pictures; 0 when it went well."""
    names = sys.argv[1:]
    if len(names) > 1 or not set(names) <= set(RESULTS):
        print(f"NAME: got {names}, allowed one of {list(RESULTS)}, or none for all pictures", file=sys.stderr)
        return 2
    if not in_environment():
        return again_in_environment(__file__)
    comfyui = Path(os.environ["COMFYUI_PATH"])
    with tempfile.TemporaryDirectory() as folder:
        if names:
            with ComfyServer(comfyui, sys.executable, Path(folder)) as server:
                _write_result(server, Path(folder), names[0])
        else:
            photograph_workflows(comfyui, Path(folder))
    return 0


def photograph_workflows(comfyui: Path, base: Path) -> None:
    """Open the workflows in the page of a server of its own, run the demo, and write the pictures."""
    from canvas import canvas, require_chromium

    lay_out_names(base, TRAIN)
    with (
        ComfyServer(comfyui, sys.executable, base) as server,
        canvas(server, require_chromium(), SIZE) as page,
    ):
        _save(_photograph(page, TRAIN, base), {TRAIN.path.with_suffix(".jpg"): 900})
        _open(page, DEMO)
        page.evaluate("() => app.queuePrompt(0)")
        _wait_for_history(server, page)
        page.wait_for_timeout(10_000)  # a message about the end lies over the canvas for a while
        _save(_photograph(page, None, base), {CANVAS: 1800, DEMO.path.with_suffix(".jpg"): 900})
        _write_grid(next((base / "output").rglob("grid-1.png")))
        for name in RESULTS:
            _write_result(server, base, name)


def _write_result(server: ComfyServer, base: Path, name: str) -> None:
    """Run a workflow that needs no model of the user's, and make its thumbnail of what comes out."""
    from demo_photographs import write_photographs
    from PIL import Image
    from workflow_to_api import to_api

    plan, shows, columns = RESULTS[name]
    photographs = base / "photographs"
    write_photographs(photographs)
    (base / "input" / PICTURE).write_bytes((photographs / THUMBNAIL_PHOTOGRAPH).read_bytes())
    workflow = json.loads(plan.path.read_text(encoding="utf-8"))
    prompt = to_api(workflow, server.object_info())
    entry = server.queue(prompt, timeout=1800, workflow=workflow)
    made = {number: entry["outputs"][number] for number, node in prompt.items() if node["class_type"] == shows}
    pictures = [Image.open(path).convert("RGB") for path in server.files({"outputs": made})]
    _save(_side_by_side(pictures[-columns * columns :], columns), {plan.path.with_suffix(".jpg"): 900})


def _side_by_side(pictures: list[Any], columns: int) -> Any:
    """Return pictures of one size in rows of so many."""
    from PIL import Image

    width, height = pictures[0].size
    sheet = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height))
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % columns * width, number // columns * height))
    return sheet


def _open(page: Any, plan: Plan) -> None:
    from canvas import reopen

    reopen(page)
    page.evaluate("workflow => app.loadGraphData(workflow)", json.loads(plan.path.read_text(encoding="utf-8")))


def _photograph(page: Any, plan: Plan | None, base: Path) -> Any:
    """Return a picture of the workflow, or of the one that is open, without the page around it."""
    from canvas import fit_view
    from PIL import Image

    if plan:
        _open(page, plan)
    left, top, width, height = fit_view(page)
    page.wait_for_timeout(3000)
    path = base / "canvas.png"
    page.screenshot(path=path)
    box = (left - MARGIN, top - MARGIN, left + width + MARGIN, top + height + MARGIN)
    with Image.open(path) as image:
        return image.convert("RGB").crop(box)


def _wait_for_history(server: ComfyServer, page: Any) -> None:
    while not server.get("/history"):
        page.wait_for_timeout(1000)
    (number,) = server.get("/history")
    server.wait(number)


def _save(picture: Any, widths: dict[Path, int]) -> None:
    from PIL import Image

    for path, width in widths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        small = picture.resize((width, round(width * picture.height / picture.width)), Image.Resampling.LANCZOS)
        _write_jpeg(small, path)


def _write_grid(picture: Path) -> None:
    from PIL import Image

    with Image.open(picture) as image:
        page = image.convert("RGB")
    page.thumbnail((GRID_SIDE, GRID_SIDE), Image.Resampling.LANCZOS)
    _write_jpeg(page, GRID)


def _write_jpeg(picture: Any, path: Path) -> None:
    picture.save(path, quality=80, optimize=True)
    print(path, path.stat().st_size)


if __name__ == "__main__":
    sys.exit(main())
