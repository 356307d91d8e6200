"""Progress, text lines and interruption, as ComfyUI shows them on a node."""

import sys
from typing import Any

import comfy.model_management
import comfy.utils
from PIL import Image

# A BaseException, so that `except Exception` does not swallow the Cancel button.
Interrupted = comfy.model_management.InterruptProcessingException

PREVIEW_SIDE = 768


def check_interrupt() -> None:
    """Raise `Interrupted` when the user pressed Cancel (progress bars check too, but are throttled)."""
    comfy.model_management.throw_exception_if_processing_interrupted()


class Progress:
    """A node's bar, its line of text and its preview picture.

    total: the value at which the bar is full. node_id: of the node that shows it; None is the executing node.
    """

    def __init__(self, total: int, node_id: str | None = None) -> None:
        self._bar = comfy.utils.ProgressBar(max(1, total), node_id=node_id)
        self._node_id = node_id

    def update(self, value: int, preview: Image.Image | None = None) -> None:
        """Move the bar to `value` and, if given, show a picture on the node. Raises `Interrupted`."""
        self._bar.update_absolute(value, preview=("JPEG", preview, PREVIEW_SIDE) if preview else None)

    def text(self, line: str) -> None:
        """Show a line of text on the node while it runs; does nothing without a server or a node id."""
        server = _prompt_server()
        if server is not None and self._node_id is not None:
            server.send_progress_text(line, self._node_id, server.client_id)


def _prompt_server() -> Any:
    # Only if ComfyUI already runs its server: importing the module would start building one.
    module = sys.modules.get("server")
    return getattr(getattr(module, "PromptServer", None), "instance", None)
