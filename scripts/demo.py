"""Set everything up and run the pack's main job: pictures in a style, a LoRA trained on them, a labelled grid out.

``python3 scripts/demo.py`` starts a ComfyUI server, queues workflows/00-demo.json on it as it is, shows its progress
and prints the grid's path as the last line. ``--ui`` opens the same workflow in the browser instead. With
``--checkpoint`` it runs workflows/01-train-and-sweep.json on a Stable Diffusion 1.5 model of yours.
"""

from __future__ import annotations  # an older Python must get as far as being told which one is needed

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import webbrowser
from pathlib import Path
from typing import Any

import demo_graph as graph
from comfy_server import PACK_NAME, ComfyServer, PromptError, ServerError
from demo_arguments import parse_arguments
from demo_input import lay_out_checkpoint, lay_out_example, lay_out_pictures, replace_folder
from environment import ROOT, Environment, SetupError, prepare

Json = dict[str, Any]


def main() -> int:
    """Return 0 when the grid was made or the browser session ended, else 1 with the reason on standard error."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, _stop)  # or the server would stay behind
    try:
        environment = prepare(("demo",), say=_say)
        device = _device(environment)
        with _server(environment, environment.cache / "demo", arguments.output, cpu=device == "cpu") as server:
            workflow, prompt = _lay_out(environment, server, arguments, device)
            if arguments.ui:
                lay_out_example(environment.comfyui, server.base)
                _serve(server, graph.TRAIN if arguments.checkpoint else graph.DEMO)
                return 0
            _say(_told(arguments, prompt, device))
            grid = _run(server, prompt, workflow, arguments.output)
        _say(_found(arguments, prompt, grid))
        print(grid)
        return 0
    except (SetupError, ServerError, PromptError, ValueError) as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"The demo could not go on: {error}. Check that file and the free disk space.", file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped. Run it again to go on where it was.", file=sys.stderr)
    return 1


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _device(environment: Environment) -> str:
    """Return "cuda", "mps" or "cpu": what the environment's torch can compute on, as ComfyUI will find it."""
    question = (
        "import torch; print('cuda' if torch.cuda.is_available() else "
        "'mps' if torch.backends.mps.is_available() else 'cpu')"
    )
    asked = subprocess.run([str(environment.python), "-c", question], capture_output=True, text=True)
    answer = asked.stdout.strip()
    return answer if answer in ("cuda", "mps") else "cpu"


def _server(environment: Environment, base: Path, output: Path | None, cpu: bool) -> ComfyServer:
    _say("Starting ComfyUI")
    options: tuple[str, ...] = ()
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        options = ("--output-directory", str(output.resolve()))
    return ComfyServer(environment.comfyui, environment.python, base, arguments=options, cpu=cpu)


# What is run


def _lay_out(
    environment: Environment, server: ComfyServer, arguments: argparse.Namespace, device: str
) -> tuple[Json | None, Json]:
    """Put files in their places; return the workflow in UI form, None where it is no more what runs, and API form."""
    schema = server.object_info()
    if arguments.checkpoint:
        prompt = _api_form(environment, _read(graph.TRAIN), schema)
        return None, _with_checkpoint(environment, server.base, prompt, arguments, device)
    workflow = _read(graph.DEMO)
    if arguments.corrupt:
        workflow = graph.switched_on(workflow, "GlitchCorruptDataset")
    shipped = prompt = _api_form(environment, workflow, schema)
    if arguments.images:
        other = _api_form(environment, _read(graph.TRAIN), schema)
        lay_out_pictures(arguments.images, server.base / _dataset(other), _say)
        prompt = graph.with_own_pictures(prompt, other)
    if arguments.style:
        prompt = graph.in_style(prompt, arguments.style)
    if arguments.steps:
        prompt = graph.with_steps(prompt, arguments.steps, 4)
    return workflow if prompt == shipped else None, prompt


def _with_checkpoint(
    environment: Environment, base: Path, prompt: Json, arguments: argparse.Namespace, device: str
) -> Json:
    dataset = base / _dataset(prompt)
    if arguments.images:
        lay_out_pictures(arguments.images, dataset, _say)
    else:
        _say("Training on eight real photographs that come with scikit-image")
        replace_folder(dataset, lambda folder: _in_environment(environment, "demo_photographs.py", folder))
    name = lay_out_checkpoint(arguments.checkpoint, base / "models" / "checkpoints")
    if arguments.ui:
        _say(f"Choose {name} in the workflow's Load Checkpoint node.")
    return graph.with_checkpoint(prompt, str(name), arguments.steps or graph.CHECKPOINT_STEPS, device == "cpu")


def _dataset(prompt: Json) -> str:
    return str(graph.value(prompt, "GlitchLoadDataset", "folder"))


def _read(path: Path) -> Json:
    return json.loads(path.read_text(encoding="utf-8"))


def _api_form(environment: Environment, workflow: Json, object_info: Json) -> Json:
    """Return a workflow in API form; the conversion runs in the environment."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("workflow.json", "object_info.json")]
        for path, content in zip(paths, (workflow, object_info), strict=True):
            path.write_text(json.dumps(content), encoding="utf-8")
        return json.loads(_in_environment(environment, "workflow_to_api.py", *paths))


def _in_environment(environment: Environment, script: str, *arguments: Path | str) -> str:
    command = [str(environment.python), str(ROOT / "scripts" / script), *map(str, arguments)]
    variables = {name: value for name, value in environment.variables().items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-10:])
        raise SetupError(f"{script} failed with exit status {done.returncode}:\n{last}")
    return done.stdout


# What is told


def _told(arguments: argparse.Namespace, prompt: Json, device: str) -> str:
    """Return what is about to be trained, in words."""
    count = graph.value(prompt, "GlitchRecipe", "steps")
    steps = f"{count} step{'s' if count > 1 else ''}"
    if arguments.checkpoint:
        side = graph.value(prompt, "GlitchFrameDataset", "framing.resolution")
        why = " (no graphics card found, so smaller)" if device == "cpu" else ""
        return f"Model: your {arguments.checkpoint.name}. Training: {steps} at {side} pixels on {device}{why}"
    model = f"Model: the demo model, which draws coloured shapes at {graph.DEMO_SIDE} pixels."
    rot = " Each picture is damaged by JPEG before training." if arguments.corrupt else ""
    if arguments.images:
        words = "Of your captions it knows the words of colours and shapes only."
        return f"{model} {words} Training: {steps} on your pictures, cropped to that size.{rot}"
    style = graph.value(prompt, "GlitchDemoDataset", "style")
    pictures = graph.value(prompt, "GlitchDemoDataset", "pictures")
    word, look = graph.STYLES[style]
    return f"{model} Training: {steps} on {pictures} drawn pictures of {look} (trigger word {word}).{rot}"


def _found(arguments: argparse.Namespace, prompt: Json, grid: Path) -> str:
    """Return where the LoRA is and what to look for in the grid."""
    lines = [_lora_of(grid)]
    columns = "In the grid, from left to right: the model without the LoRA, then each checkpoint."
    if arguments.checkpoint:
        return "\n".join([*lines, f"{columns} A finished LoRA takes 1000 steps or more."])
    if arguments.images:
        word, look = graph.value(prompt, "GlitchTriggerWord", "trigger"), "colours and textures of your pictures"
    else:
        word, look = graph.STYLES[graph.value(prompt, "GlitchDemoDataset", "style")]
    leak = (
        "Where a prompt leaves the word out, what changes has leaked: here most of it, because the LoRA has seen "
        "nothing without that look."
    )
    asked = f"Where the prompt has {word}, look for {look}."
    if arguments.style == "heart":
        return "\n".join([*lines, columns, asked])
    return "\n".join([*lines, columns, asked, leak])


def _lora_of(grid: Path) -> str:
    """Return where the LoRA of the run is whose grid it is: the last checkpoint's file, where Load LoRA finds it."""
    runs = next((parent for parent in grid.parents if parent.name == "glitch_lora"), grid.parent)
    run = grid.relative_to(runs).parts[0]
    found = sorted((runs.parent / "loras").glob(f"{run}-*.safetensors"), key=lambda path: path.stat().st_mtime)
    return f"The LoRA is {found[-1]}" if found else f"The LoRA is in {runs / run}"


# Running


class _Printer:
    """Prints what a run tells: a line per node, and the node's own progress, the last of each node always."""

    def __init__(self, prompt: dict[str, Any]) -> None:
        self._names = {
            number: node.get("_meta", node).get("title", node["class_type"]) for number, node in prompt.items()
        }
        self._waiting = ""
        self._last_time = 0.0

    def on_event(self, kind: str, data: dict[str, Any]) -> None:
        """Take one message of the server."""
        if kind == "progress_text":
            self._tell(data["text"].strip())
        elif kind == "executing":
            self._flush()
            if data.get("node"):
                _say(self._names.get(data["node"], data["node"]))

    def _tell(self, text: str) -> None:
        self._waiting = text
        if time.monotonic() - self._last_time > 2:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            _say("  " + self._waiting.replace("\n", "\n  "))
            self._last_time = time.monotonic()
        self._waiting = ""


def _run(server: ComfyServer, prompt: Json, workflow: Json | None, output: Path | None) -> Path:
    """Queue the workflow, wait for its end and return the path of the grid's first page."""
    started = time.monotonic()
    server.on_event = _Printer(prompt).on_event
    queued = server.submit(prompt, workflow)
    try:
        entry = server.wait(queued, timeout=7 * 24 * 3600)
    except KeyboardInterrupt:
        _say("Stopping after this step, so that the run can go on from it")
        with contextlib.suppress(PromptError, ServerError, OSError):
            server.interrupt()
            server.wait(queued, timeout=60)
        raise
    for shown in entry["outputs"].values():  # the reports: what was read and left out, what was trained
        for text in shown.get("text", ()):
            _say(text)
    _say(f"Done in {time.monotonic() - started:.0f} s")
    grids = [number for number, node in prompt.items() if node["class_type"] == "GlitchGrid"]
    for number in grids:
        for picture in entry["outputs"].get(number, {}).get("images", ()):
            folder = output.resolve() if output and picture["type"] == "output" else server.base / picture["type"]
            return folder / picture["subfolder"] / picture["filename"]
    raise ValueError(f"workflow: no grid came out, see {server.log_path}")


def _serve(server: ComfyServer, workflow: Path) -> None:
    """Open the workflow in the browser and keep the server until the user stops it."""
    address = f"{server.url}/?template={workflow.stem}&source={PACK_NAME}"
    _say(f"ComfyUI runs at {address}\nPress Ctrl+C to end it.")
    if not os.environ.get("GLITCH_NO_BROWSER"):
        webbrowser.open(address)
    while True:
        server.check_running()
        time.sleep(2)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
