"""Where ComfyUI's own rules would surprise: choices it drops, lists it cannot bear empty.

ComfyUI lets an unknown choice of a dynamic combo through validation and then leaves the input out. The error should
still name what was asked.
"""

from collections.abc import Callable, Iterable
from typing import Any

from comfy_execution.graph_utils import ExecutionBlocker
from comfy_execution.utils import get_executing_context


def _listed(got: Any, names: list[str]) -> str:
    return str(names)


def require_choice(
    value: dict[str, Any] | None,
    name: str,
    allowed: Iterable[str],
    prompt: Any,
    told: Callable[[Any, list[str]], str] = _listed,
) -> dict[str, Any]:
    """Return a dynamic combo's `value`, or raise ValueError naming what the prompt asked for and what is allowed.

    prompt: the hidden input of that name: the queued graph by node id. told: says of a wrong name which ones there are.
    """
    names = list(allowed)
    if value is not None and value.get(name) in names:
        return value
    asked = _asked(name, prompt)
    raise ValueError(f"{name}: got {asked!r}, allowed {told(asked, names)}, choose one of them")


def skipped_output() -> Any:
    """Return the item of an output list that makes ComfyUI skip what is connected; an empty list would crash it."""
    return ExecutionBlocker(None)


def _asked(name: str, prompt: Any) -> Any:
    context = get_executing_context()
    node = (prompt or {}).get(context.node_id if context else None) or {}
    return node.get("inputs", {}).get(name)
