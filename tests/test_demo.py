"""The demo, in this environment instead of one of its own: the shipped workflows on a real server, end to end.

Oracles: the shipped files and the pack's own lists for what is changed; the files that come out for what was done.
"""

import json
import os
import struct
import subprocess
import sys
import urllib.error
from pathlib import Path

import demo_arguments
import demo_graph
import demo_input
import pytest
from comfy_server import ComfyServer, ServerError
from environment import Environment, SetupError
from glitch_lora.demo.styles import STYLES
from glitch_lora.host.demo_model import WEIGHTS
from PIL import Image
from safetensors import safe_open
from shipped_workflow import DEMO, TRAIN, api_form, ui_form

import demo

# Further than the demo's own sizes, which are for looking at.
SMALLEST = {
    "GlitchFrameDataset": {"framing.resolution": 128, "framing.min_side": 64, "framing.max_side": 256},
    "GlitchRecipe": {"sample_width": 64, "sample_height": 64, "sample_steps": 1},
    "GlitchSweep": {"sizes": "128x128", "steps": "1"},
}


def _environment(cache: Path) -> Environment:
    return Environment(Path(sys.executable), Path(os.environ["COMFYUI_PATH"]), cache)


def _demo(monkeypatch: pytest.MonkeyPatch, cache: Path, *arguments: object) -> int:
    """Run the demo in this process, with this environment in the place of one of its own."""
    monkeypatch.setattr(demo, "prepare", lambda extras, say: _environment(cache))
    monkeypatch.setattr(demo, "_device", lambda _: "cpu")
    monkeypatch.setattr(sys, "argv", ["demo.py", *map(str, arguments)])
    return demo.main()


def _prompt() -> dict:
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}},
        "2": {"class_type": "GlitchLoadDataset", "inputs": {"folder": "input/photographs"}},
        "3": {
            "class_type": "GlitchRecipe",
            "inputs": {"steps": 1000, "checkpoint_every": 100, "sample_every": 0, "rank": 16},
        },
    }


def _only(folder: Path, pattern: str) -> Path:
    (found,) = folder.rglob(pattern)
    return found


@pytest.mark.slow
@pytest.mark.exclusive
def test_demo_makes_a_grid_and_the_second_run_trains_nothing(tmp_path, monkeypatch, capsys):
    """Nothing in, a grid and a LoRA out; the same again finds run and sweep, and gives the same picture."""
    cache, output = tmp_path / "the cache", tmp_path / "my output"
    options = ("--steps", 3, "--style", "vhs", "--corrupt", "--output", output)
    assert _demo(monkeypatch, cache, *options) == 0
    told = capsys.readouterr().out
    grid = Path(told.strip().splitlines()[-1])
    assert grid.is_relative_to(output)
    with Image.open(grid) as picture:
        pixels = picture.tobytes()
        assert "prompt" in picture.info and "workflow" not in picture.info, "the changed graph, not the shipped one"
    assert "the demo model" in told and "24 drawn pictures" in told and "vhstp" in told and "damaged by JPEG" in told
    assert "Step 3/3" in told
    lora = _only(output / "loras", "*.safetensors")
    assert f"The LoRA is {lora}" in told
    config = json.loads(_only(output / "glitch_lora", "config.json").read_text(encoding="utf-8"))
    assert config["trigger"] == "vhstp" and "jpeg_recompression" in json.dumps(config["steps_applied"])
    checkpoints = sorted(path.stat().st_mtime_ns for path in output.rglob("checkpoints/*.safetensors"))
    assert len(checkpoints) == 3

    assert _demo(monkeypatch, cache, *options) == 0
    told = capsys.readouterr().out
    assert told.strip().splitlines()[-1] == str(grid)
    assert "Step 1/3" not in told and f"The LoRA is {lora}" in told
    assert sorted(path.stat().st_mtime_ns for path in output.rglob("checkpoints/*.safetensors")) == checkpoints
    with Image.open(grid) as picture:
        assert picture.tobytes() == pixels


@pytest.mark.slow
@pytest.mark.exclusive
def test_demo_model_trains_on_pictures_of_ones_own(tmp_path, monkeypatch, capsys):
    pictures = tmp_path / "mine"
    pictures.mkdir()
    Image.linear_gradient("L").resize((300, 200)).convert("RGB").save(pictures / "one.png")
    (pictures / "one.txt").write_text("a gradient", encoding="utf-8")
    output = tmp_path / "output"
    assert _demo(monkeypatch, tmp_path / "cache", "--images", pictures, "--steps", 1, "--output", output) == 0
    assert "on your pictures" in capsys.readouterr().out
    config = json.loads(_only(output / "glitch_lora", "config.json").read_text(encoding="utf-8"))
    assert [item["caption"] for item in config["dataset"]] == [f"{config['trigger']}, a gradient"]
    with safe_open(_only(output / "loras", "*.safetensors"), "np") as lora:
        assert lora.metadata()["ss_sd_model_name"] == WEIGHTS.name
        assert "64" in lora.metadata()["modelspec.resolution"]


@pytest.mark.slow
@pytest.mark.exclusive
def test_a_checkpoint_of_ones_own_is_trained_under_its_own_name(tmp_path, monkeypatch, capsys):
    """01-train-and-sweep on a network of random weights and the photographs of scikit-image."""
    from random_checkpoint import write_random_checkpoint

    for kind, values in SMALLEST.items():
        monkeypatch.setitem(demo_graph.SMALLER, kind, demo_graph.SMALLER[kind] | values)
    checkpoint, output = tmp_path / "my model.safetensors", tmp_path / "output"
    write_random_checkpoint(checkpoint, "small")
    options = ("--checkpoint", checkpoint, "--steps", 1, "--output", output)
    assert _demo(monkeypatch, tmp_path / "cache", *options) == 0
    told = capsys.readouterr().out
    assert "your my model.safetensors" in told and "real photographs" in told and "128 pixels on cpu" in told
    with safe_open(_only(output / "loras", "*.safetensors"), "np") as lora:
        assert lora.metadata()["ss_sd_model_name"] == checkpoint.name
    assert checkpoint.exists()


def test_styles_are_those_of_the_pack():
    assert {name: word for name, (word, _) in demo_graph.STYLES.items()} == {
        name: style.trigger for name, style in STYLES.items()
    }


def test_changed_values_are_the_listed_ones():
    expected = _prompt()
    expected["3"]["inputs"] |= {"steps": 30, "checkpoint_every": 10}
    assert demo_graph.with_steps(_prompt(), 30, 3) == expected
    assert demo_graph.with_steps(_prompt(), 2, 3)["3"]["inputs"]["checkpoint_every"] == 1


@pytest.mark.parametrize("small", [True, False], ids=["processor", "graphics card"])
def test_only_a_processor_gets_smaller_sizes(monkeypatch, small):
    monkeypatch.setattr(demo_graph, "SMALLER", {"GlitchRecipe": {"rank": 4}})
    expected = _prompt()
    expected["1"]["inputs"]["ckpt_name"] = "yours/mine.safetensors"
    expected["3"]["inputs"] = {"steps": 30, "checkpoint_every": 10, "sample_every": 10, "rank": 4 if small else 16}
    assert demo_graph.with_checkpoint(_prompt(), "yours/mine.safetensors", 30, small) == expected


def test_bypassed_damage_is_switched_on_and_nothing_else_changes():
    before = ui_form(DEMO)
    after = demo_graph.switched_on(before, "GlitchCorruptDataset")
    changed = [node["type"] for node, other in zip(after["nodes"], before["nodes"], strict=True) if node != other]
    assert changed == ["GlitchCorruptDataset"]
    with pytest.raises(ValueError, match="no NoSuchNode in it"):
        demo_graph.switched_on(before, "NoSuchNode")


@pytest.mark.parametrize("style", list(STYLES))
def test_a_style_is_asked_for_in_its_own_words(server, style):
    """The prompts are put together by Prompt Set from the dataset's word; a concept's word is in them."""
    from glitch_lora.dataset.prompts import PromptSet

    prompt = demo_graph.in_style(api_form(server, DEMO), style)
    assert demo_graph.value(prompt, "GlitchDemoDataset", "style") == style
    asked = next(node["inputs"] for node in prompt.values() if node["class_type"] == "GlitchPromptSet")
    texts = PromptSet(trigger=asked["trigger"], word=STYLES[style].trigger).texts(asked["text"])
    assert sum(STYLES[style].trigger in text for text in texts) == 2
    assert all(text.count(STYLES[style].trigger) <= 1 for text in texts)


@pytest.mark.parametrize("link", [{"frame": ["1", 0]}, {}], ids=["a wire", "missing"])
def test_drift_between_workflow_and_list_is_an_error(link):
    prompt = {"1": {"class_type": "GlitchRecipe", "inputs": link}}
    with pytest.raises(ValueError, match="no GlitchRecipe with 'frame'"):
        demo_graph.with_values(prompt, {"GlitchRecipe": {"frame": 4}})


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


def test_own_pictures_and_checkpoint_come_where_comfyui_lists_them(tmp_path):
    base, pictures, checkpoint = tmp_path / "base", tmp_path / "my pictures", tmp_path / "mine.safetensors"
    pictures.mkdir()
    Image.new("RGB", (8, 8)).save(pictures / "one.png")
    checkpoint.write_bytes(b"weights")
    for _ in range(2):
        _lay_out(base, pictures)
        name = demo_input.lay_out_checkpoint(checkpoint, base / "checkpoints")
    assert name.name == "mine.safetensors"
    assert (base / "checkpoints" / name).read_bytes() == b"weights"
    assert [path.name for path in (base / "input" / "photographs").iterdir()] == ["one.png"]
    assert checkpoint.exists() and (pictures / "one.png").exists()


def test_another_checkpoint_takes_the_place_of_the_last_and_no_others(tmp_path):
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / "two.safetensors").write_bytes(b"put there by somebody")
    for name in ("one", "two"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
        laid = demo_input.lay_out_checkpoint(tmp_path / f"{name}.safetensors", checkpoints)
    assert [path.read_bytes() for path in (checkpoints / laid).parent.iterdir()] == [b"two"]
    assert (checkpoints / "two.safetensors").read_bytes() == b"put there by somebody"
    assert (tmp_path / "one.safetensors").exists()


def _own_pictures(base: Path) -> Path:
    """What an earlier demo has laid out."""
    folder = base / "input" / "photographs"
    folder.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "earlier.png")
    return folder


def _lay_out(base: Path, images: Path) -> None:
    demo_input.lay_out_pictures(images.resolve(), base / "input" / "photographs", print)


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
    monkeypatch.setattr(demo_input.shutil, "copytree", lambda *a, **k: real(*a, **k, copy_function=broken))
    with pytest.raises(ValueError, match=r"--images: got(.|\n)*one\.png(.|\n)*Permission denied"):
        _lay_out(tmp_path / "base", pictures)

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_input.shutil, "copytree", stopped)
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
    assert demo_arguments.parse_arguments().checkpoint == path.resolve()


def test_empty_folder_of_images_is_refused_before_anything_is_set_up(tmp_path, monkeypatch, capsys):
    (tmp_path / ".hidden").write_bytes(b"")
    monkeypatch.setattr(demo, "prepare", lambda *_: pytest.fail("set up too early"))
    monkeypatch.setattr(sys, "argv", ["demo.py", "--images", str(tmp_path)])
    with pytest.raises(SystemExit):
        demo.main()
    assert "empty folder, needed a folder of pictures, put some there" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--ui", "--steps", "5"], "--steps: not used with --ui"),
        (["--ui", "--style", "vhs"], "--style: not used with --ui"),
        (["--ui", "--corrupt"], "--corrupt: not used with --ui"),
        (["--ui", "--images", "."], "--images: with --ui only beside --checkpoint"),
        (["--style", "vhs", "--images", "."], "--style: not used with --images"),
        (["--style", "oil"], "argument --style: invalid choice"),
    ],
)
def test_what_would_have_no_effect_is_refused(tmp_path, monkeypatch, capsys, arguments, fault):
    (tmp_path / "one.png").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "prepare", lambda *_: pytest.fail("set up too early"))
    monkeypatch.setattr(sys, "argv", ["demo.py", *arguments])
    with pytest.raises(SystemExit):
        demo.main()
    assert fault in " ".join(capsys.readouterr().err.split())


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
        demo._run(_Leaving(tmp_path), _prompt(), None, None)


def test_browser_session_ends_with_the_servers_log(tmp_path, monkeypatch):
    monkeypatch.setenv("GLITCH_NO_BROWSER", "1")
    with pytest.raises(ServerError, match="not running"):
        demo._serve(ComfyServer(tmp_path, sys.executable, tmp_path), TRAIN)


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
