"""Progress, text lines and interruption, as ComfyUI shows them on a node."""

import logging
import sys
import time
from typing import Any

import comfy.model_management
import comfy.utils
from comfy_execution.utils import get_executing_context
from PIL import Image

# A BaseException, so that `except Exception` does not swallow the Cancel button.
Interrupted = comfy.model_management.InterruptProcessingException

PREVIEW_SIDE = 768
LOG_SECONDS = 5.0


def check_interrupt() -> None:
    """Raise `Interrupted` when the user pressed Cancel (progress bars check too, but are throttled)."""
    comfy.model_management.throw_exception_if_processing_interrupted()


class Progress:
    """A node's bar, its line of text and its preview picture.

    total: the value at which the bar is full. node_id: of the node that shows it; None is the executing node.
    """

    def __init__(self, total: int, node_id: str | None = None) -> None:
        context = get_executing_context()
        self._node_id = node_id if node_id is not None else context.node_id if context else None
        self._bar = comfy.utils.ProgressBar(max(1, total), node_id=self._node_id)

    def update(self, value: int, preview: Image.Image | None = None) -> None:
        """Move the bar to `value` and, if given, show a picture on the node. Raises `Interrupted`."""
        self._bar.update_absolute(value, preview=("JPEG", preview, PREVIEW_SIDE) if preview else None)

    def text(self, line: str) -> None:
        """Show a line of text on the node while it runs; does nothing without a server or a node id."""
        server = _prompt_server()
        if server is not None and self._node_id is not None:
            server.send_progress_text(line, self._node_id, server.client_id)


class TrainingEvents:
    """A training's progress on the executing node, and in the log every few seconds."""

    def __init__(self) -> None:
        self._progress = Progress(1)
        self._total = 1
        self._logged = 0.0

    def check(self) -> None:
        """Raise `Interrupted` when the user pressed Cancel."""
        check_interrupt()

    def status(self, line: str) -> None:
        """Show and log a line."""
        self._progress.text(line)
        logging.info("Glitch LoRA: %s", line)

    def step(self, step: int, total: int, line: str) -> None:
        """Move the bar to `step` of `total` and show the line."""
        if total != self._total:
            self._total, self._progress = total, Progress(total)
        self._progress.text(line)
        if step == total or time.monotonic() - self._logged >= LOG_SECONDS:
            self._logged = time.monotonic()
            logging.info("Glitch LoRA: %s", line)
        self._progress.update(step)

    def preview(self, step: int, image: Image.Image) -> None:
        """Show a sample picture on the node."""
        self._progress.update(step, image)


def _prompt_server() -> Any:
    # Only if ComfyUI already runs its server: importing the module would start building one.
    module = sys.modules.get("server")
    return getattr(getattr(module, "PromptServer", None), "instance", None)
