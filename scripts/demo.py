"""Set everything up and run the pack's main job: photographs in, a LoRA trained, a labelled grid out.

``python3 scripts/demo.py`` starts a ComfyUI server, queues workflows/01-train-and-sweep.json on it, shows its
progress and prints the grid's path as the last line. ``--ui`` opens the same workflow in the browser instead.
"""

from __future__ import annotations  # an older Python must get as far as being told which one is needed

import argparse
import contextlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from comfy_server import PACK_NAME, ComfyServer, PromptError, ServerError
from environment import ROOT, Environment, SetupError, prepare

WORKFLOW = ROOT / "workflows" / "01-train-and-sweep.json"
STEPS = 24
# What a processor without a graphics card can do in minutes: smaller pictures, fewer steps and cells. Nothing else
# of the shipped workflow is changed. Node type, then input name and value.
SMALLER: dict[str, dict[str, Any]] = {
    "GlitchFrameDataset": {"framing.resolution": 256, "framing.min_side": 128, "framing.max_side": 512},
    "GlitchRecipe": {"sample_width": 256, "sample_height": 256, "sample_steps": 8},
    "GlitchSweep": {"sizes": "256x256", "steps": "8"},
}


def main() -> int:
    """Return 0 when the grid was made or the browser session ended, else 1 with the reason on standard error."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _stop)  # or the server would stay behind
    try:
        environment = prepare(("demo",), say=_say)
        base = environment.cache / "demo"
        device = _device(environment)
        with _server(environment, base, arguments.output, cpu=device == "cpu") as server:
            prompt = _api_form(environment, server.object_info())
            _lay_out_input(environment, base, prompt, arguments)
            if arguments.ui:
                _serve(server)
                return 0
            _say(_told(device))
            print(_run(server, _lowered(prompt, arguments.steps, device), arguments.output))
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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a LoRA on photographs and sweep it, inside ComfyUI.")
    parser.add_argument("--ui", action="store_true", help="open the workflow in the browser instead of running it")
    parser.add_argument("--images", type=_folder, help="a folder of your own pictures, captions as .txt beside them")
    parser.add_argument("--checkpoint", type=_file, help="your own SD1.5 checkpoint, .safetensors")
    steps_help = f"training steps (default {STEPS}); not with --ui, where the workflow's own number stands"
    parser.add_argument("--steps", type=_positive, help=steps_help)
    parser.add_argument(
        "--output", type=_folder_or_new, help="folder for ComfyUI's output (default: in the cache folder)"
    )
    arguments = parser.parse_args()
    if arguments.ui and arguments.steps:
        parser.error("--steps: not used with --ui, set steps in the workflow's Recipe node instead")
    arguments.steps = arguments.steps or STEPS
    return arguments


def _folder(text: str) -> Path:
    path = Path(text).expanduser().resolve()
    if not path.is_dir() or not any(found.is_file() for found in path.rglob("[!.]*")):
        found = "an empty folder" if path.is_dir() else "no folder"
        raise argparse.ArgumentTypeError(
            f"got {text!r}, which is {found}, needed a folder of pictures, put some there or choose another"
        )
    return path


def _file(text: str) -> Path:
    """Return the path of a safetensors file: its first bytes are looked at, so that no other file is trained on."""
    path = Path(text).expanduser().resolve()
    fault = "is no file"
    if path.is_file():
        fault = "has another extension" if path.suffix.lower() != ".safetensors" else _header_fault(path)
    if fault:
        allowed = "needed an SD1.5 checkpoint as a .safetensors file"
        raise argparse.ArgumentTypeError(f"got {text!r}, which {fault}, {allowed}, choose another or convert it")
    return path


def _header_fault(path: Path) -> str:
    """Return what is wrong with a safetensors file's header (8 bytes of length, then JSON), "" when nothing is."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size - 8:
                return "is cut off or no safetensors file"
            names = set(dict(json.loads(file.read(length)))) - {"__metadata__"}
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except (struct.error, ValueError, TypeError, MemoryError):
        return "is no safetensors file"
    return "" if names else "holds no weights"


def _folder_or_new(text: str) -> Path:
    path = Path(text).expanduser().resolve()
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"got {text!r}, which is a file, needed a folder (made if missing)")
    return path


def _positive(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"got {text!r}, needed a whole number from 1")
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {text}, needed 1 or more")
    return number


def _device(environment: Environment) -> str:
    """Return "cuda", "mps" or "cpu": what the environment's torch can compute on, as ComfyUI will find it."""
    question = (
        "import torch; print('cuda' if torch.cuda.is_available() else "
        "'mps' if torch.backends.mps.is_available() else 'cpu')"
    )
    asked = subprocess.run([str(environment.python), "-c", question], capture_output=True, text=True)
    answer = asked.stdout.strip()
    return answer if answer in ("cuda", "mps") else "cpu"


def _told(device: str) -> str:
    if device != "cpu":
        return f"Device: {device}, the workflow's own sizes"
    size = SMALLER["GlitchFrameDataset"]["framing.resolution"]
    steps = SMALLER["GlitchSweep"]["steps"]
    return f"Device: cpu (no graphics card found), so smaller: pictures of {size} pixels, {steps} sampling steps"


def _server(environment: Environment, base: Path, output: Path | None, cpu: bool) -> ComfyServer:
    _say("Starting ComfyUI")
    options: tuple[str, ...] = ()
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        options = ("--output-directory", str(output.resolve()))
    return ComfyServer(environment.comfyui, environment.python, base, arguments=options, cpu=cpu)


def _api_form(environment: Environment, object_info: dict[str, Any]) -> dict[str, Any]:
    """Return the shipped workflow in API form; the conversion runs in the environment."""
    with tempfile.TemporaryDirectory() as folder:
        schema = Path(folder) / "object_info.json"
        schema.write_text(json.dumps(object_info), encoding="utf-8")
        return json.loads(_in_environment(environment, "workflow_to_api.py", WORKFLOW, schema))


def _in_environment(environment: Environment, script: str, *arguments: Path | str) -> str:
    command = [str(environment.python), str(ROOT / "scripts" / script), *map(str, arguments)]
    variables = {name: value for name, value in environment.variables().items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-10:])
        raise SetupError(f"{script} failed with exit status {done.returncode}:\n{last}")
    return done.stdout


# What the workflow reads: it stays as it is, so the files get the names that stand in it.


def _lay_out_input(environment: Environment, base: Path, prompt: dict[str, Any], arguments: argparse.Namespace) -> None:
    checkpoint = base / "models" / "checkpoints" / _value(prompt, "CheckpointLoaderSimple", "ckpt_name")
    dataset = base / "input" / _value(prompt, "GlitchLoadDataset", "folder").removeprefix("input/")
    _lay_out_checkpoint(environment, checkpoint, arguments.checkpoint)
    if arguments.images:
        _refuse_own_folder(arguments.images, dataset)
        _say(f"Copying your pictures into {dataset}")
        _replace_folder(dataset, lambda folder: _copy_pictures(arguments.images, folder))
    else:
        _say("Training on eight real photographs that come with scikit-image")
        _replace_folder(dataset, lambda folder: _in_environment(environment, "demo_photographs.py", folder))


def _refuse_own_folder(images: Path, dataset: Path) -> None:
    """Raise ValueError when one of the two folders lies in the other: the second one is replaced."""
    own = dataset.resolve()
    if images == own or images in own.parents or own in images.parents:
        raise ValueError(
            f"--images: got {str(images)!r}, allowed any folder that neither holds nor lies in {own}, which the demo "
            "replaces, copy your pictures to a folder of their own"
        )


def _replace_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Fill a new folder beside `folder`, then put it in its place; when filling fails the old one stays as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
        new, old = Path(beside) / "new", Path(beside) / "old"
        fill(new)
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise


def _copy_pictures(images: Path, folder: Path) -> None:
    """Copy all files; a link that leads nowhere, or to a folder it lies in, is left out and told."""

    def left_out(place: str, names: list[str]) -> list[str]:
        within = Path(place).resolve()
        links = [path for name in names if (path := Path(place, name)).is_symlink()]
        bad = [
            link
            for link in links
            if not link.exists() or (found := link.resolve()) == within or found in within.parents
        ]
        for link in bad:
            _say(f"Left out, a link that leads to no picture: {link}")
        return [link.name for link in bad]

    try:
        shutil.copytree(images, folder, ignore=left_out)
    except shutil.Error as error:
        faults = "\n".join(f"  {fault[0]}: {fault[-1]}" for fault in error.args[0][:5])
        raise ValueError(
            f"--images: got {str(images)!r}, needed a folder whose files can all be read, "
            f"repair or remove these, nothing was changed:\n{faults}"
        ) from error


def _lay_out_checkpoint(environment: Environment, wanted: Path, own: Path | None) -> None:
    """Put the user's checkpoint, or one of random weights, where the workflow expects a checkpoint."""
    source = own or environment.cache / "random-small.safetensors"
    if own is None:
        _say("No --checkpoint given: the model is a network of random weights, so the pictures it makes are noise.")
        if not source.exists():
            _say(f"Writing it to {source}")
            _in_environment(environment, "random_checkpoint.py", source, "small")
    if wanted.exists() and wanted.samefile(source):
        return
    wanted.parent.mkdir(parents=True, exist_ok=True)
    wanted.unlink(missing_ok=True)
    for link in (wanted.symlink_to, wanted.hardlink_to):
        try:
            link(source)
            return
        except OSError:
            continue
    shutil.copyfile(source, wanted)


def _nodes(prompt: dict[str, Any], class_type: str) -> list[dict[str, Any]]:
    return [node for node in prompt.values() if node["class_type"] == class_type]


def _value(prompt: dict[str, Any], class_type: str, name: str) -> str:
    for node in _nodes(prompt, class_type):
        value = node["inputs"].get(name)
        if isinstance(value, str) and value:
            return value
    raise ValueError(f"{WORKFLOW.name}: no {class_type} with {name!r} in it, repair the workflow file")


def _lowered(prompt: dict[str, Any], steps: int, device: str = "cpu") -> dict[str, Any]:
    """Return the workflow with the wanted number of steps, three checkpoints on the way and, on the CPU, SMALLER."""
    every = max(1, steps // 3)
    counts = {"steps": steps, "checkpoint_every": every, "sample_every": every}
    smaller = SMALLER if device == "cpu" else {}
    changes = smaller | {"GlitchRecipe": smaller.get("GlitchRecipe", {}) | counts}
    for class_type, values in changes.items():
        for name, value in values.items():
            _set(prompt, class_type, name, value)
    return prompt


def _set(prompt: dict[str, Any], class_type: str, name: str, value: Any) -> None:
    """Set an input of every node of that type; a link is left alone, a missing input is an error of ours."""
    nodes = [node for node in _nodes(prompt, class_type) if not isinstance(node["inputs"].get(name, []), list)]
    if not nodes:
        raise ValueError(f"{WORKFLOW.name}: no {class_type} with {name!r} in it, correct SMALLER in demo.py")
    for node in nodes:
        node["inputs"][name] = value


# Running


class _Printer:
    """Prints what a run tells: a line per node, and the node's own progress, the last of each node always."""

    def __init__(self, prompt: dict[str, Any]) -> None:
        self._names = {number: node["class_type"] for number, node in prompt.items()}
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


def _run(server: ComfyServer, prompt: dict[str, Any], output: Path | None) -> Path:
    """Queue the workflow, wait for its end and return the path of the grid's first page."""
    started = time.monotonic()
    server.on_event = _Printer(prompt).on_event
    queued = server.submit(prompt, json.loads(WORKFLOW.read_text(encoding="utf-8")))
    try:
        entry = server.wait(queued, timeout=7 * 24 * 3600)
    except KeyboardInterrupt:
        _say("Stopping after this step, so that the run can go on from it")
        with contextlib.suppress(PromptError, ServerError, OSError):
            server.interrupt()
            server.wait(queued, timeout=60)
        raise
    _say(f"Done in {time.monotonic() - started:.0f} s")
    for shown in entry["outputs"].values():  # the reports: what was read and left out, what was trained
        for text in shown.get("text", ()):
            _say(text)
    loras = (output.resolve() if output else server.base / "output") / "loras"
    _say(f"The LoRA is in {loras}")
    grids = [number for number, node in prompt.items() if node["class_type"] == "GlitchGrid"]
    for number in grids:
        for picture in entry["outputs"].get(number, {}).get("images", ()):
            folder = output.resolve() if output and picture["type"] == "output" else server.base / picture["type"]
            return folder / picture["subfolder"] / picture["filename"]
    raise ValueError(f"{WORKFLOW.name}: no grid came out, see {server.log_path}")


def _serve(server: ComfyServer) -> None:
    """Open the workflow in the browser and keep the server until the user stops it."""
    address = f"{server.url}/?template={WORKFLOW.stem}&source={PACK_NAME}"
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
