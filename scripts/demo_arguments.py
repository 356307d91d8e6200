"""The demo's command line: what can be asked for, and refusals before anything is set up. Standard library only."""

from __future__ import annotations  # an older Python must get as far as being told which one is needed

import argparse
import json
import struct
from pathlib import Path

from demo_graph import CHECKPOINT_STEPS, STYLES


def parse_arguments() -> argparse.Namespace:
    """Return the arguments: ui, style, corrupt, images, checkpoint, steps, output; None where nothing was said."""
    parser = argparse.ArgumentParser(description="Train a LoRA on the demo model and sweep it, inside ComfyUI.")
    parser.add_argument("--ui", action="store_true", help="open the workflow in the browser instead of running it")
    parser.add_argument("--style", choices=list(STYLES), help="what the demo model learns (default: halftone)")
    parser.add_argument(
        "--corrupt", action="store_true", help="rot the pictures by JPEG before training (always, with --checkpoint)"
    )
    parser.add_argument("--images", type=_folder, help="a folder of your own pictures, captions as .txt beside them")
    parser.add_argument(
        "--checkpoint", type=_file, help="your own SD1.5 checkpoint, .safetensors, instead of the demo model"
    )
    steps_help = f"training steps (default: the workflow's own, with --checkpoint {CHECKPOINT_STEPS}); not with --ui"
    parser.add_argument("--steps", type=_positive, help=steps_help)
    parser.add_argument(
        "--output", type=_folder_or_new, help="folder for ComfyUI's output (default: in the cache folder)"
    )
    arguments = parser.parse_args()
    _refuse_contradictions(parser, arguments)
    return arguments


def _refuse_contradictions(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.style and (arguments.images or arguments.checkpoint):
        parser.error("--style: not used with --images or --checkpoint, the style is that of the pictures, leave it out")
    if not arguments.ui:
        return
    places = {"steps": "Recipe", "style": "Demo Dataset"}
    for name, node in places.items():
        if getattr(arguments, name):
            parser.error(f"--{name}: not used with --ui, set {name} in the workflow's {node} node instead")
    if arguments.corrupt:
        parser.error("--corrupt: not used with --ui, press Ctrl+B on the workflow's Corrupt Dataset node instead")
    if arguments.images and not arguments.checkpoint:
        parser.error("--images: with --ui only beside --checkpoint, else drop them on a Load Dataset node instead")


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
        raise argparse.ArgumentTypeError(
            f"got {text!r}, which is a file, needed a folder (made if missing), choose another"
        )
    return path


def _positive(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"got {text!r}, needed a whole number from 1, correct it")
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {text}, needed 1 or more, raise it")
    return number
