"""The demo, in this environment instead of one of its own: the shipped workflow on a real server, end to end."""

import json
import os
import sys
from argparse import Namespace
from pathlib import Path

import demo
import pytest
from environment import Environment, SetupError
from PIL import Image

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
    monkeypatch.setattr(sys, "argv", ["demo.py", "--steps", "3", "--output", str(output)])
    assert demo.main() == 0
    told = capsys.readouterr().out
    grid = Path(told.strip().splitlines()[-1])
    assert grid.is_relative_to(output)
    with Image.open(grid) as picture:
        assert min(picture.size) > 256
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
