"""The workflows that the pack ships, in both forms, with what they read laid out in a server's folders."""

import json
from pathlib import Path
from typing import Any

from comfy_server import ComfyServer
from demo_photographs import write_photographs
from photographs import photograph
from tiny_models import write_random_checkpoint
from workflow_to_api import to_api

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("00-demo", "01-train-and-sweep", "02-databend-bench", "03-glitch-tags", "06-pivotal-diary")
DEMO, TRAIN, BENCH, TAGS, DIARY = WORKFLOWS = tuple(ROOT / "workflows" / f"{name}.json" for name in NAMES)

Values = dict[str, dict[str, Any]]


def ui_form(path: Path = TRAIN) -> dict[str, Any]:
    """Return a shipped workflow as the canvas saves it."""
    return json.loads(path.read_text(encoding="utf-8"))


def api_form(server: ComfyServer, path: Path = TRAIN) -> dict[str, Any]:
    """Return a shipped workflow as the server runs it."""
    return to_api(ui_form(path), server.object_info())


def lay_out(server: ComfyServer, size: str = "small") -> None:
    """Put a checkpoint of random weights and real photographs where 01 and 02 expect their files."""
    prompt = api_form(server)
    (checkpoint,) = values(prompt, "CheckpointLoaderSimple", "ckpt_name")
    (folder,) = values(prompt, "GlitchLoadDataset", "folder")
    path = server.base / "models" / "checkpoints" / checkpoint
    if not path.exists():
        write_random_checkpoint(path, size)
    write_photographs(server.base / folder)
    (picture,) = values(api_form(server, BENCH), "LoadImage", "image")
    photograph("astronaut").save(server.base / "input" / picture)


def values(prompt: dict[str, Any], class_type: str, name: str) -> list[Any]:
    """Return what an input has on each node of a type."""
    return [node["inputs"][name] for node in prompt.values() if node["class_type"] == class_type]


def lowered(prompt: dict[str, Any], changes: Values) -> dict[str, Any]:
    """Return a copy with other values; an input that the workflow does not have is an error."""
    prompt = json.loads(json.dumps(prompt))
    for class_type, inputs in changes.items():
        nodes = [node for node in prompt.values() if node["class_type"] == class_type]
        assert nodes, class_type
        for node in nodes:
            assert not inputs.keys() - node["inputs"].keys(), (class_type, inputs.keys() - node["inputs"].keys())
            node["inputs"] |= inputs
    return prompt


def number_of(prompt: dict[str, Any], class_type: str) -> str:
    """Return the id of the only node of a type."""
    (number,) = [number for number, node in prompt.items() if node["class_type"] == class_type]
    return number
