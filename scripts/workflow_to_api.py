"""Turn a workflow file of the canvas into the form that ComfyUI's HTTP API runs.

Run by the environment's Python: ``python scripts/workflow_to_api.py WORKFLOW OBJECT_INFO`` prints the API form.
OBJECT_INFO is the JSON that a running server gives at /object_info: it knows which value belongs to which input.
"""

import json
import sys
from pathlib import Path
from typing import Any


def to_api(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """Return ``{node id: {"class_type": ..., "inputs": {...}}}`` for a UI-format workflow."""
    from comfy_cli.workflow_to_api import convert_ui_to_api

    return convert_ui_to_api(workflow, object_info)


def _main() -> None:
    workflow, object_info = (json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:3])
    json.dump(to_api(workflow, object_info), sys.stdout)


if __name__ == "__main__":
    _main()
