"""ComfyUI's page in a headless Chromium: open it, build and read graphs in it, take pictures of the canvas."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comfy_server import ComfyServer
from playwright.sync_api import Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# A user who has been here before: no tour and no hints over the canvas.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.InstalledVersion": "1.47.12",
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
}
_READY = "() => window.app?.extensionManager && window.LiteGraph?.registered_node_types?.GlitchTrain && window.graph"
_FIT = """() => {
  const boxes = [...app.graph._groups, ...app.graph._nodes].map(item => item.boundingRect ?? item._bounding)
  const left = Math.min(...boxes.map(box => box[0])), top = Math.min(...boxes.map(box => box[1]))
  const width = Math.max(...boxes.map(box => box[0] + box[2])) - left
  const height = Math.max(...boxes.map(box => box[1] + box[3])) - top
  const view = app.canvasEl.getBoundingClientRect(), side = 70, head = 105
  const scale = Math.min((view.width - side - 20) / width, (view.height - head - 70) / height)
  const space = app.canvas.ds
  space.scale = scale
  space.offset = [side / scale - left, head / scale - top]
  app.canvas.setDirty(true, true)
  return [view.left + side, view.top + head, width * scale, height * scale]
}"""


def find_chromium() -> str | None:
    """Return the path of the browser: GLITCH_CHROMIUM, or Debian's place, or None."""
    places = (os.environ.get("GLITCH_CHROMIUM"), CHROMIUM)
    return next((place for place in places if place and Path(place).is_file()), None)


def require_chromium() -> str:
    """Return the path of the browser or end the script with what to do."""
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("browser: got none, needed Chromium or Chrome, install it or set GLITCH_CHROMIUM to its path")
    return chromium


@contextlib.contextmanager
def canvas(server: ComfyServer, chromium: str, size: tuple[int, int] = (1600, 1000)) -> Iterator[Page]:
    """Give ComfyUI's page, ready to use. page.complaints collects errors of the console and of scripts, as text."""
    server.post("/settings", SETTINGS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.complaints = complaints = []  # type: ignore[attr-defined]
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(_told(message)) if message.type == "error" else None)
        page.goto(server.url)
        page.wait_for_function(_READY, timeout=120_000)
        yield page
        browser.close()


def reopen(page: Page) -> None:
    """Load the page anew: a graph's values stay behind in the front end, and new files are listed after a reload."""
    page.reload()
    page.wait_for_function(_READY, timeout=120_000)
    page.wait_for_timeout(3000)  # the workflow of the last session may still open


def fit_view(page: Page) -> tuple[float, float, float, float]:
    """Scale and move the view so that the whole graph is seen beside the menus; return where: x, y, width, height."""
    place = page.evaluate(_FIT)
    page.wait_for_timeout(1000)
    return tuple(place)


def _told(message: Any) -> str:
    return f"{message.text} ({message.location.get('url', '')})"
