"""Turn a workflow file of the canvas into the form that ComfyUI's HTTP API runs.

Run by the environment's Python: ``python scripts/workflow_to_api.py WORKFLOW OBJECT_INFO`` prints the API form.
OBJECT_INFO is the JSON that a running server gives at /object_info: it knows which value belongs to which input.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def to_api(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """Return ``{node id: {"class_type": ..., "inputs": {...}}}`` for a UI-format workflow."""
    from comfy_cli.workflow_to_api import convert_ui_to_api

    return convert_ui_to_api(workflow, object_info)


def _main() -> None:
    arguments = _arguments()
    json.dump(to_api(arguments.workflow, arguments.object_info), sys.stdout)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Turn a workflow file of the canvas into the form that the API runs.")
    parser.add_argument("workflow", metavar="WORKFLOW", type=_json, help="a .json file saved from the canvas")
    parser.add_argument("object_info", metavar="OBJECT_INFO", type=_json, help="what a server gives at /object_info")
    return parser.parse_args()


def _json(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{path}: {error}") from error


if __name__ == "__main__":
    _main()
