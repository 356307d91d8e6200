"""The demo, in this environment instead of one of its own: the shipped workflow on a real server, end to end."""

import json
import os
import struct
import subprocess
import sys
import urllib.error
from argparse import Namespace
from pathlib import Path

import pytest
from comfy_server import ComfyServer, ServerError
from environment import Environment, SetupError
from PIL import Image

import demo

SMALLEST = [
    ("GlitchFrameDataset", {"framing.resolution": 128, "framing.min_side": 64, "framing.max_side": 256}),
    ("GlitchRecipe", {"sample_width": 64, "sample_height": 64, "sample_steps": 1}),
    ("GlitchSweep", {"sizes": "128x128", "steps": "1"}),
]


def _environment(cache: Path) -> Environment:
    return Environment(Path(sys.executable), Path(os.environ["COMFYUI_PATH"]), cache)


def _prompt() -> dict:
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}},
        "2": {"class_type": "GlitchLoadDataset", "inputs": {"folder": "input/photographs"}},
        "3": {
            "class_type": "GlitchRecipe",
            "inputs": {"steps": 1000, "checkpoint_every": 100, "sample_every": 0, "rank": 16},
        },
    }


@pytest.mark.slow
@pytest.mark.exclusive
def test_demo_makes_a_grid_and_the_second_run_trains_nothing(tmp_path, monkeypatch, capsys):
    """Photographs in, a grid out; queueing the same graph again finds run and sweep, and gives the same picture.

    The sizes are lowered further than the demo's own, which are for looking at.
    """
    cache, output = tmp_path / "the cache", tmp_path / "my output"
    for name, value in SMALLEST:
        monkeypatch.setitem(demo.SMALLER, name, demo.SMALLER[name] | value)
    monkeypatch.setattr(demo, "prepare", lambda extras, say: _environment(cache))
    monkeypatch.setattr(demo, "_device", lambda _: "cpu")
    monkeypatch.setattr(sys, "argv", ["demo.py", "--steps", "3", "--output", str(output)])
    assert demo.main() == 0
    told = capsys.readouterr().out
    grid = Path(told.strip().splitlines()[-1])
    assert grid.is_relative_to(output)
    with Image.open(grid) as picture:
        assert min(picture.size) > 256
    assert "Device: cpu" in told and "pictures of 128 pixels, 1 sampling steps" in told
    assert "random weights" in told and "real photographs" in told
    assert "Step 3/3" in told
    checkpoints = sorted(path.stat().st_mtime_ns for path in output.rglob("checkpoints/*.safetensors"))
    assert len(checkpoints) == 3
    with Image.open(grid) as picture:
        pixels = picture.tobytes()

    assert demo.main() == 0
    told = capsys.readouterr().out
    assert told.strip().splitlines()[-1] == str(grid)
    assert "Step 1/3" not in told
    assert sorted(path.stat().st_mtime_ns for path in output.rglob("checkpoints/*.safetensors")) == checkpoints
    with Image.open(grid) as picture:
        assert picture.tobytes() == pixels


def test_lowering_changes_only_the_listed_values(monkeypatch):
    monkeypatch.setattr(demo, "SMALLER", {"GlitchRecipe": {"rank": 4}})
    lowered = demo._lowered(_prompt(), 30)
    expected = _prompt()
    expected["3"]["inputs"] = {"steps": 30, "checkpoint_every": 10, "sample_every": 10, "rank": 4}
    assert lowered == expected


def test_graphics_card_gets_the_workflows_own_sizes():
    lowered = demo._lowered(_prompt(), 30, "cuda")
    expected = _prompt()
    expected["3"]["inputs"] = {"steps": 30, "checkpoint_every": 10, "sample_every": 10, "rank": 16}
    assert lowered == expected
    assert "cuda" in demo._told("cuda") and "smaller" not in demo._told("cuda")


def test_device_is_what_the_environments_torch_finds(tmp_path):
    """Oracle: torch in this process; a Python without torch counts as the processor alone."""
    import torch

    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert demo._device(_environment(tmp_path)) == expected
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    found = [bare / place for place in ("bin/python", "Scripts/python.exe") if (bare / place).exists()]
    assert demo._device(Environment(found[0], tmp_path, tmp_path)) == "cpu"


@pytest.mark.parametrize(("device", "cpu"), [("cpu", True), ("cuda", False)])
def test_server_computes_on_the_device_that_was_found(tmp_path, device, cpu):
    server = demo._server(_environment(tmp_path), tmp_path / "base", None, cpu=device == "cpu")
    assert ("--cpu" in server._command()) == cpu


def test_drift_between_workflow_and_list_is_an_error(monkeypatch):
    monkeypatch.setattr(demo, "SMALLER", {"GlitchRecipe": {"no_such_input": 4}})
    with pytest.raises(ValueError, match="no GlitchRecipe with 'no_such_input'"):
        demo._lowered(_prompt(), 30)


def test_own_files_get_the_names_that_stand_in_the_workflow(tmp_path):
    base, pictures, checkpoint = tmp_path / "base", tmp_path / "my pictures", tmp_path / "mine.safetensors"
    pictures.mkdir()
    Image.new("RGB", (8, 8)).save(pictures / "one.png")
    checkpoint.write_bytes(b"weights")
    arguments = Namespace(images=pictures, checkpoint=checkpoint)
    for _ in range(2):
        demo._lay_out_input(_environment(tmp_path / "cache"), base, _prompt(), arguments)
    assert (base / "models" / "checkpoints" / "sd15.safetensors").read_bytes() == b"weights"
    assert [path.name for path in (base / "input" / "photographs").iterdir()] == ["one.png"]
    assert checkpoint.exists() and (pictures / "one.png").exists()


def _own_pictures(base: Path) -> Path:
    """What an earlier demo has laid out."""
    folder = base / "input" / "photographs"
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "earlier.png")
    return folder


def _lay_out(base: Path, images: Path) -> None:
    checkpoint = base.parent / "mine.safetensors"
    checkpoint.write_bytes(b"weights")
    arguments = Namespace(images=images.resolve(), checkpoint=checkpoint)
    demo._lay_out_input(_environment(base.parent / "cache"), base, _prompt(), arguments)


@pytest.mark.parametrize("place", ["input/photographs", "input", "input/photographs/inside", "."])
def test_images_that_the_demo_would_delete_are_refused_and_stay(tmp_path, place):
    own = _own_pictures(tmp_path / "base")
    (own / "inside").mkdir()
    with pytest.raises(ValueError, match=r"--images: got .*, allowed any folder that .*, copy your pictures"):
        _lay_out(tmp_path / "base", tmp_path / "base" / place)
    assert (own / "earlier.png").exists()


def test_failed_copy_loses_nothing_and_is_told(tmp_path, monkeypatch):
    """A copy that fails: by a file that cannot be read, and by the user, who stops it."""
    import shutil

    own, pictures = _own_pictures(tmp_path / "base"), tmp_path / "mine"
    pictures.mkdir()
    Image.new("RGB", (8, 8)).save(pictures / "one.png")

    def broken(source, target, **_):
        raise PermissionError(13, "Permission denied", str(source))

    real = shutil.copytree
    monkeypatch.setattr(demo.shutil, "copytree", lambda *a, **k: real(*a, **k, copy_function=broken))
    with pytest.raises(ValueError, match=r"--images: got(.|\n)*one\.png(.|\n)*Permission denied"):
        _lay_out(tmp_path / "base", pictures)

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo.shutil, "copytree", stopped)
    with pytest.raises(KeyboardInterrupt):
        _lay_out(tmp_path / "base", pictures)
    assert [path.name for path in own.parent.iterdir()] == ["photographs"], "no unfinished copy stays"
    assert [path.name for path in own.iterdir()] == ["earlier.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_links_that_lead_nowhere_or_in_a_circle_are_left_out_and_told(tmp_path, capsys):
    pictures, real = tmp_path / "mine", tmp_path / "real.png"
    pictures.mkdir()
    Image.new("RGB", (8, 8)).save(real)
    (pictures / "good.png").symlink_to(real)
    (pictures / "gone.png").symlink_to(tmp_path / "no such")
    (pictures / "circle").symlink_to(pictures)
    _lay_out(tmp_path / "base", pictures)
    assert [path.name for path in (tmp_path / "base" / "input" / "photographs").iterdir()] == ["good.png"]
    told = capsys.readouterr().out
    assert f"leads to no picture: {pictures / 'gone.png'}" in told
    assert f"leads to no picture: {pictures / 'circle'}" in told


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_own_folder_that_is_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    pictures, elsewhere = tmp_path / "mine", tmp_path / "elsewhere"
    for folder, name in ((pictures, "one.png"), (elsewhere, "kept.png")):
        folder.mkdir()
        Image.new("RGB", (8, 8)).save(folder / name)
    (tmp_path / "base" / "input").mkdir(parents=True)
    (tmp_path / "base" / "input" / "photographs").symlink_to(elsewhere)
    _lay_out(tmp_path / "base", pictures)
    assert [path.name for path in (tmp_path / "base" / "input" / "photographs").iterdir()] == ["one.png"]
    assert (elsewhere / "kept.png").exists()


def _safetensors(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("model.txt", b"hello", "has another extension"),
        ("model.ckpt", _safetensors(b'{"a": {}}'), "has another extension"),
        ("model.safetensors", b"", "is no safetensors file"),
        ("model.safetensors", b"<!DOCTYPE html><html></html>", "is cut off"),
        ("model.safetensors", _safetensors(b'{"a": {}}', 5000), "is cut off"),
        ("model.safetensors", _safetensors(b"not json"), "is no safetensors file"),
        ("model.safetensors", _safetensors(b"[1]"), "is no safetensors file"),
        ("model.safetensors", _safetensors(b'{"__metadata__": {}}'), "holds no weights"),
    ],
)
def test_file_that_is_no_checkpoint_is_refused_before_anything_is_set_up(
    tmp_path, monkeypatch, capsys, name, content, fault
):
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(demo, "prepare", lambda *_: pytest.fail("set up too early"))
    monkeypatch.setattr(sys, "argv", ["demo.py", "--checkpoint", str(tmp_path / name)])
    with pytest.raises(SystemExit):
        demo.main()
    told = " ".join(capsys.readouterr().err.split())
    assert f"argument --checkpoint: got {str(tmp_path / name)!r}, which {fault}" in told
    assert "choose another" in told


def test_checkpoint_that_safetensors_writes_is_taken(tmp_path, monkeypatch):
    """Oracle: the safetensors library."""
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "Model.SafeTensors"
    save_file({"weight": torch.zeros(2)}, path, {"format": "pt"})
    monkeypatch.setattr(sys, "argv", ["demo.py", "--checkpoint", str(path)])
    arguments = demo._arguments()
    assert arguments.checkpoint == path.resolve() and arguments.steps == demo.STEPS


def test_empty_folder_of_images_is_refused_before_anything_is_set_up(tmp_path, monkeypatch, capsys):
    (tmp_path / ".hidden").write_bytes(b"")
    monkeypatch.setattr(demo, "prepare", lambda *_: pytest.fail("set up too early"))
    monkeypatch.setattr(sys, "argv", ["demo.py", "--images", str(tmp_path)])
    with pytest.raises(SystemExit):
        demo.main()
    assert "empty folder, needed a folder of pictures, put some there" in " ".join(capsys.readouterr().err.split())


def test_steps_with_ui_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["demo.py", "--ui", "--steps", "5"])
    with pytest.raises(SystemExit):
        demo.main()
    assert "--steps: not used with --ui" in capsys.readouterr().err


class _Leaving(ComfyServer):
    """A server that the user stops with Ctrl+C while it no longer answers."""

    def __init__(self, base: Path) -> None:
        super().__init__(base, sys.executable, base)

    def submit(self, prompt, workflow=None, client_id=None):
        return "1"

    def wait(self, prompt_id, timeout=300):
        raise KeyboardInterrupt

    def interrupt(self):
        raise urllib.error.URLError("connection refused")


def test_stopping_a_server_that_no_longer_answers_is_no_error_of_its_own(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        demo._run(_Leaving(tmp_path), _prompt(), None)


def test_browser_session_ends_with_the_servers_log(tmp_path, monkeypatch):
    monkeypatch.setenv("GLITCH_NO_BROWSER", "1")
    with pytest.raises(ServerError, match="not running"):
        demo._serve(ComfyServer(tmp_path, sys.executable, tmp_path))


def test_full_disk_is_told_in_one_line(monkeypatch, capsys):
    def prepare(extras, say):
        raise OSError(28, "No space left on device", "photographs")

    monkeypatch.setattr(demo, "prepare", prepare)
    monkeypatch.setattr(sys, "argv", ["demo.py"])
    assert demo.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in line and "free disk space" in line


def test_default_pictures_are_photographs_with_captions(tmp_path):
    from demo_photographs import write_photographs

    folder = write_photographs(tmp_path / "photographs")
    pictures = [path for path in folder.iterdir() if path.suffix != ".txt"]
    assert len(pictures) == 8
    for path in pictures:
        with Image.open(path) as picture:
            assert min(picture.size) >= 300
        assert len(path.with_suffix(".txt").read_text().split()) > 3


def test_failed_setup_is_told_and_is_an_error(monkeypatch, capsys):
    def prepare(extras, say):
        raise SetupError("Set-up failed at: install torch")

    monkeypatch.setattr(demo, "prepare", prepare)
    monkeypatch.setattr(sys, "argv", ["demo.py"])
    assert demo.main() == 1
    assert "install torch" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--images", "no/such"), ("--checkpoint", "no/such"), ("--steps", "0")])
def test_bad_arguments_are_refused_before_anything_is_set_up(monkeypatch, capsys, option, value):
    monkeypatch.setattr(demo, "prepare", lambda *_: pytest.fail("set up too early"))
    monkeypatch.setattr(sys, "argv", ["demo.py", option, value])
    with pytest.raises(SystemExit):
        demo.main()
    assert option in capsys.readouterr().err


def test_shipped_workflow_is_the_canvas_form():
    workflow = json.loads(demo.WORKFLOW.read_text(encoding="utf-8"))
    assert isinstance(workflow["nodes"], list) and workflow["links"]
