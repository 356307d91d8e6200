"""The run folder: found again by content, whole after a kill, patient with damage."""

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from glitch_lora.training import atomic
from glitch_lora.training.file_names import safe_name
from glitch_lora.training.lora_file import load_safetensors
from glitch_lora.training.publish import save_lora
from glitch_lora.training.run import Run, RunWriter, content_key, find_run, list_runs
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

KEY = content_key({"steps": 1})
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    """A new run called "street"."""
    return RunWriter.create(tmp_path / "runs", KEY, "street", {"trigger": "gl1tch", "clip_skip": -2})


def lora(value: float = 1.0) -> dict[str, torch.Tensor]:
    """Return the tensors of a small LoRA file."""
    return {"m.lora_down.weight": torch.full((2, 3), value), "m.alpha": torch.tensor(1.0)}


def test_a_run_is_found_again_by_its_key(writer: RunWriter) -> None:
    """By content, whatever the folder is called; other keys find nothing."""
    root = writer.run.folder.parent
    assert writer.run.name == f"street-{KEY[:8]}"
    assert find_run(root, KEY) == writer.run
    assert find_run(root, content_key({"steps": 2})) is None
    assert find_run(root / "missing", KEY) is None
    writer.run.folder.rename(root / "renamed by hand")
    found = find_run(root, KEY)
    assert found is not None
    assert found.name == "renamed by hand"
    assert (found.trigger, found.clip_skip) == ("gl1tch", -2)


def test_same_name_other_key_is_another_folder(writer: RunWriter) -> None:
    """Also when the first eight digits are the same: the folder of another run is never touched."""
    root = writer.run.folder.parent
    twin_key = KEY[:8] + "0" * 56
    twin = RunWriter.create(root, twin_key, "street", {})
    assert twin.run.folder != writer.run.folder
    assert find_run(root, KEY) == writer.run
    assert find_run(root, twin_key) == twin.run
    assert RunWriter.create(root, twin_key, "street", {}).run == twin.run


def test_creating_again_keeps_the_run_and_its_name(writer: RunWriter) -> None:
    """The new config is taken (a longer training), the files stay."""
    writer.save_checkpoint(5, lora(), {})
    again = RunWriter.create(writer.run.folder.parent, KEY, "other name", {"steps": 9})
    assert again.run == writer.run
    assert again.run.config() == {"steps": 9, "name": "street", "content_key": KEY}
    assert [checkpoint.step for checkpoint in again.run.checkpoints()] == [5]


@given(value=JSON_VALUES)
def test_content_key_is_a_pure_function(value: Any) -> None:
    """It survives JSON and does not see the order of keys."""
    assert content_key(value) == content_key(json.loads(json.dumps(value)))
    turned = dict(reversed(value.items())) if isinstance(value, dict) else value
    assert content_key(turned) == content_key(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Path("a"), {1, 2}])
def test_content_key_refuses_what_never_matches(value: Any) -> None:
    """NaN is not equal to itself, and objects have no text."""
    with pytest.raises(ValueError, match=r"content key|JSON"):
        content_key({"a": value})


@given(name=st.text(max_size=200))
def test_names_are_safe_everywhere(name: str) -> None:
    """Oracle: the rules of Windows for file names, by hand."""
    safe = safe_name(name)
    assert safe
    assert not set(safe) & set('<>:"/\\|?*')
    assert safe == safe.strip(" .")
    assert not any(ord(char) < 32 for char in safe)
    assert safe.split(".")[0].rstrip().upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}
    assert len(safe.encode()) <= 65
    assert safe_name(safe) == safe


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("", "run"),
        ("..", "run"),
        ("../../etc/passwd", "etc-passwd"),
        ("C:\\x", "C-x"),
        ("con", "_con"),
        ("NUL.txt", "_NUL.txt"),
        ("a\tb  c", "a-b c"),
        ("größe 日本", "größe 日本"),
        (".hidden.", "hidden"),
    ],
)
def test_safe_name_examples(name: str, safe: str) -> None:
    """What people type."""
    assert safe_name(name) == safe


def test_checkpoints_are_sorted_by_number(writer: RunWriter) -> None:
    """9 before 10 before 100000000, one digit more than the padding."""
    for step in (100_000_000, 9, 100, 10):
        writer.save_checkpoint(step, lora(step), {"ss_steps": str(step)})
    assert [checkpoint.step for checkpoint in writer.run.checkpoints()] == [9, 10, 100, 100_000_000]
    assert writer.run.checkpoint(9).path.name == f"street-{KEY[:8]}-00000009.safetensors"
    last = writer.run.last_checkpoint()
    assert last is not None
    assert load_safetensors(last.path)[0]["m.lora_down.weight"][0, 0] == 100_000_000
    with pytest.raises(ValueError, match=r"step: got 11, allowed .*\[9, 10, 100, 100000000\], choose one"):
        writer.run.checkpoint(11)


def test_damage_is_named_and_nothing_else_is_lost(writer: RunWriter) -> None:
    """A truncated checkpoint, a file that is none, a torn metrics line, a broken config, a broken state."""
    writer.save_checkpoint(1, lora(), {})
    torn = writer.save_checkpoint(2, lora(), {})
    torn.write_bytes(torn.read_bytes()[:-3])
    (torn.parent / "notes.txt").write_text("mine")
    writer.append_metrics({"step": 1, "loss": 0.5})
    with open(writer.run.folder / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 2, "lo\n\x00\xff\n[1]\n"x"\n{"step": "3"}\n')
    writer.append_metrics({"step": 4, "loss": 0.25})
    (writer.run.folder / "config.json").write_text("{")
    writer.save_state(1, {"a": torch.ones(2)}, {}).write_bytes(b"no")

    assert [checkpoint.step for checkpoint in writer.run.checkpoints()] == [1]
    assert writer.run.losses() == [0.5, 0.25]
    assert writer.run.config() == {}
    assert (writer.run.trigger, writer.run.clip_skip) == ("", None)
    assert writer.load_state() is None
    assert "training state of step 1 skipped" in writer.problems[0]
    text = "\n".join(writer.run.problems())
    for part in ("config.json cannot be read", torn.name, "5 unreadable lines", "state-00000001.safetensors"):
        assert part in text
    assert torn.exists()


def test_a_sound_run_has_no_problems(writer: RunWriter) -> None:
    """Nothing is reported where nothing is wrong; a missing config and a missing folder are."""
    writer.save_checkpoint(1, lora(), {})
    writer.append_metrics({"step": 1, "loss": 0.5})
    writer.save_state(1, {}, {})
    assert writer.run.problems() == ()
    (writer.run.folder / "config.json").unlink()
    assert "config.json is missing" in writer.run.problems()[0]
    assert "gone" in Run(writer.run.folder / "no").problems()[0]


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(1, 90))
def test_metrics_survive_any_cut(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """Whole lines before the cut are kept, and the next line is not joined to the torn one."""
    writer = RunWriter(Run(tmp_path_factory.mktemp("run")))
    for step in range(1, 6):
        writer.append_metrics({"step": step, "loss": step / 2})
    path = writer.run.folder / "metrics.jsonl"
    content = path.read_bytes()[:-cut]
    path.write_bytes(content)
    complete = content.count(b"\n") + content.endswith(b"}")
    assert [line["step"] for line in writer.run.metrics()] == list(range(1, complete + 1))
    writer.append_metrics({"step": 9, "loss": 1.0})
    assert [line["step"] for line in writer.run.metrics()] == [*range(1, complete + 1), 9]


def test_metrics_of_steps_trained_again(writer: RunWriter) -> None:
    """The later line counts; truncation drops what will be trained again; NaN becomes null."""
    for step, loss in ((1, 0.1), (2, 0.2), (3, float("nan")), (2, 0.25)):
        writer.append_metrics({"step": step, "loss": loss})
    assert [line["loss"] for line in writer.run.metrics()] == [0.1, 0.25, None]
    assert writer.run.losses() == [0.1, 0.25]
    writer.truncate_metrics(1)
    assert writer.run.metrics() == [{"step": 1, "loss": 0.1}]


def test_numbers_that_are_not_finite_are_null_in_parts_too(writer: RunWriter) -> None:
    """fp16 training begins with gradients that overflow, and JSON has no infinity."""
    writer.append_metrics({"step": 1, "loss": 0.5, "parts": {"network": {"grad_norm": float("inf"), "rate": 1e-4}}})
    text = (writer.run.folder / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["parts"] == {"network": {"grad_norm": None, "rate": 1e-4}}


def test_state_comes_back_exactly(writer: RunWriter) -> None:
    """Tensors bit for bit, floats exactly; only the newest file stays."""
    tensors = {"exp_avg": torch.randn(5, dtype=torch.float64), "rng": torch.arange(9, dtype=torch.uint8)}
    values = {"lr": 0.1 + 0.2, "name": "größe", "nested": {"list": [1, None, True, 2**60]}}
    assert writer.load_state() is None
    writer.save_state(10, {}, {})
    writer.save_state(20, tensors, values)
    state = writer.load_state()
    assert state is not None
    step, read, read_values = state
    assert (step, read_values) == (20, values)
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    assert [path.name for path in (writer.run.folder / "state").iterdir()] == ["state-00000020.safetensors"]


def test_an_older_good_state_beats_a_damaged_newer_one(writer: RunWriter) -> None:
    """What a power cut between the rename and the clean-up can leave."""
    writer.save_state(10, {"a": torch.ones(1)}, {"v": 1})
    broken = writer.run.folder / "state" / "state-00000020.safetensors"
    broken.write_bytes(b"\x00" * 100)
    state = writer.load_state()
    assert state is not None
    assert state[0] == 10
    assert "step 20 skipped" in writer.problems[0]


def test_a_full_disk_leaves_the_old_file_and_says_so(writer: RunWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write fails half-way; the file that was there is whole, nothing is left behind."""
    path = writer.save_checkpoint(1, lora(1.0), {})
    before = path.read_bytes()
    monkeypatch.setattr(atomic.os, "fsync", _disk_full)
    size = 8 + 2 * 3 * 4 + 4
    with pytest.raises(
        OSError, match=rf"{path.name}: not saved \(No space.*needs (\d+) bytes and [\d,]+ bytes are free"
    ) as error:
        writer.save_checkpoint(1, lora(2.0), {})
    assert error.value.errno == errno.ENOSPC
    assert int(str(error.value).split("needs ")[1].split()[0]) > size
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def _disk_full(handle: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


REGISTER_PACK = textwrap.dedent(
    f"""
    import importlib.util, pathlib, sys
    spec = importlib.util.spec_from_file_location(
        "glitch_lora", {str(Path(__file__).parent.parent / "__init__.py")!r},
        submodule_search_locations=[{str(Path(__file__).parent.parent)!r}])
    pack = importlib.util.module_from_spec(spec)
    sys.modules["glitch_lora"] = pack
    spec.loader.exec_module(pack)
    import torch
    from glitch_lora.training.run import Run, RunWriter
    writer = RunWriter(Run(pathlib.Path(sys.argv[1])))
    """
)


def test_a_file_that_the_system_cuts_short(writer: RunWriter) -> None:
    """Oracle: the operating system's own limit on file sizes, in a process of its own."""
    writer.save_state(1, {"a": torch.zeros(4)}, {})
    program = REGISTER_PACK + 'writer.save_state(2, {"a": torch.ones(100_000)}, {})'
    done = subprocess.run(
        [sys.executable, "-c", program, str(writer.run.folder)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "state-00000002.safetensors: not saved (File too large); it needs 400," in done.stderr
    state = writer.load_state()
    assert state is not None
    assert state[0] == 1
    assert [path.name for path in (writer.run.folder / "state").iterdir()] == ["state-00000001.safetensors"]


def test_kill_at_any_moment_leaves_a_good_state(writer: RunWriter) -> None:
    """A process that only saves is killed again and again (SIGKILL); each time a whole, newest state is loaded."""
    program = REGISTER_PACK + textwrap.dedent(
        """
        step = int(sys.argv[2])
        while True:
            step += 1
            writer.append_metrics({"step": step, "loss": 0.5})
            writer.save_state(step, {"a": torch.full((200_000,), float(step))}, {"step": step})
            writer.save_checkpoint(step % 7, {"a": torch.full((50_000,), float(step))}, {"ss_steps": str(step)})
            print(step, flush=True)
        """
    )
    last, source = 0, random.Random(3)
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(writer.run.folder), str(last)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        said = int(process.stdout.readline())
        time.sleep(source.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        said = max([said, *map(int, process.stdout.read().split())])
        process.wait()
        state = writer.load_state()
        assert state is not None
        step, tensors, values = state
        assert step >= said > last
        assert values == {"step": step}
        assert torch.equal(tensors["a"], torch.full((200_000,), float(step)))
        for checkpoint in writer.run.checkpoints():
            read, metadata = load_safetensors(checkpoint.path)
            assert torch.equal(read["a"], torch.full((50_000,), float(metadata["ss_steps"])))
        assert [line["step"] for line in writer.run.metrics()][:said] == list(range(1, said + 1))
        last = step
    assert writer.run.problems() == ()
    RunWriter.create(writer.run.folder.parent, KEY, "street", {})
    assert not list(writer.run.folder.rglob("*.partial"))


def test_samples_are_png_with_text(writer: RunWriter) -> None:
    """Sorted by step and prompt, pixels kept, settings readable."""
    picture = Image.new("RGB", (8, 6), (10, 200, 30))
    for step, index in ((20, 1), (3, 0), (20, 0)):
        writer.save_sample(step, index, picture, {"prompt": "größe (x:1.2)", "seed": "1"})
    found = writer.run.sample_images()
    assert [(image.step, image.index) for image in found] == [(3, 0), (20, 0), (20, 1)]
    with Image.open(found[0].path) as read:
        assert read.text == {"prompt": "größe (x:1.2)", "seed": "1"}
        assert read.getpixel((1, 1)) == (10, 200, 30)


def test_publishing_never_overwrites(writer: RunWriter, tmp_path: Path) -> None:
    """The same bytes are one file; other bytes get a counter."""
    loras = tmp_path / "loras"
    writer.save_checkpoint(5, lora(1.0), {})
    first = save_lora(writer.run, 5, loras).path
    assert save_lora(writer.run, 5, loras).path == first
    assert first.read_bytes() == writer.run.checkpoint(5).path.read_bytes()
    writer.save_checkpoint(5, lora(2.0), {})
    second = save_lora(writer.run, 5, loras).path
    assert second.name == first.stem + "-2.safetensors"
    assert load_safetensors(first)[0]["m.lora_down.weight"][0, 0] == 1.0
    assert save_lora(writer.run, 5, loras).path == second


def test_runs_are_listed_newest_first(tmp_path: Path) -> None:
    """By what was written last; other folders and files are not runs."""
    for name in ("old", "new", "middle"):
        writer = RunWriter.create(tmp_path, content_key(name), name, {})
        writer.save_checkpoint(1, lora(), {})
        age = {"old": 300, "middle": 200, "new": 100}[name]
        for folder in (writer.run.folder, writer.run.folder / "checkpoints"):
            os.utime(folder, (1e9 - age, 1e9 - age))
    (tmp_path / "no run").mkdir()
    (tmp_path / "file.json").write_text("{}")
    assert [run.name.split("-")[0] for run in list_runs(tmp_path)] == ["new", "middle", "old"]
    assert list_runs(tmp_path / "missing") == []
