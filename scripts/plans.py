"""What a shipped workflow holds, in words: `scripts/workflow.py` builds it on the canvas."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"
WIDE, NARROW = 400, 330
BYPASSED = 4  # LiteGraph's mode of a node that Ctrl+B has switched off

# A group's title, colour and columns; a column is a list of nodes from top to bottom.
Group = tuple[str, str, list[list[str]]]


@dataclass(frozen=True)
class Plan:
    """A workflow: its name, nodes by name, rows of groups, wires, and files whose names it chooses.

    links: from node and output to node and input. files: what has to be below ComfyUI's base folder for the names to
    be listed; one ending in .png is a dataset's picture.
    """

    name: str
    nodes: dict[str, dict[str, Any]]
    rows: list[list[Group]]
    links: list[tuple[str, str, str, str]]
    files: tuple[str, ...] = field(default=())

    @property
    def path(self) -> Path:
        """The file of the workflow in UI form; its thumbnail is beside it."""
        return WORKFLOWS / f"{self.name}.json"


def node(kind: str, width: int = NARROW, height: int = 0, **more: Any) -> dict[str, Any]:
    """Return a node, at least that large in pixels; more: title, values, models, colours and mode as LiteGraph's."""
    return {"type": kind, "width": width, "height": height, "values": {}, **more}


def note(title: str, text: str, width: int, height: int) -> dict[str, Any]:
    """Return a note in Markdown."""
    return node("MarkdownNote", width, height, title=title, values={"text": text}, colours=["#432", "#653"])
