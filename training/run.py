"""The run folder: what a training leaves behind, and all that is needed to go on.

    <root>/<run>/config.json                          everything needed to repeat it; "content_key" finds it again
                 metrics.jsonl                        one line per step
                 checkpoints/<run>-<step>.safetensors ordinary LoRA files
                 state/state-<step>.safetensors       the newest only: optimizer and position
                 samples/<step>-<index>.png           previews

`Run` reads and never raises on damage: what cannot be read is skipped and named by `problems`. `RunWriter` writes
each file whole or not at all. Of config.json this module reads `content_key`, `name`, `trigger` (a word or "") and
`clip_skip` (as in CLIP Set Last Layer, -2 is the last layer but one; null means the CLIP's own default).
"""

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .atomic import not_saved_message, remove_leftovers, write_bytes, write_file, write_json
from .file_names import content_key, run_folder_name, safe_name
from .recipe import SampleSettings

__all__ = [
    "Checkpoint",
    "Run",
    "RunWriter",
    "SampleImage",
    "content_key",
    "find_run",
    "list_runs",
    "run_folder_name",
    "safe_name",
]

STEP_DIGITS = 8
LAST = -1
_CHECKPOINT = re.compile(r"-(\d+)\.safetensors$")
_SAMPLE = re.compile(r"^(\d+)-(\d+)\.png$")
_STATE = re.compile(r"^state-(\d+)\.safetensors$")


@dataclass(frozen=True)
class Checkpoint:
    """A LoRA file of a run. step: optimizer updates made when it was written."""

    step: int
    path: Path


@dataclass(frozen=True)
class SampleImage:
    """A preview of a run. index: the prompt's place in the recipe."""

    step: int
    index: int
    path: Path


@dataclass(frozen=True)
class Run:
    """A run folder, the value on a GLITCH_RUN wire: a path, read anew at each call.

    samples: what the recipe that asked for the run says of samples, which may be newer than what config.json says:
    they decide no weights, so a finished run is handed out to recipes that differ in them. None: as config.json says.
    """

    folder: Path
    samples: SampleSettings | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The folder's name: the user's run name and the start of the content key."""
        return self.folder.name

    @property
    def trigger(self) -> str:
        """The trigger word that captions had, or ""."""
        return str(self.config().get("trigger") or "")

    @property
    def tokens(self) -> tuple[str, ...]:
        """The words that the run learns, as config.json's recipe names them; () for none."""
        recipe = self.config().get("recipe")
        words = recipe.get("embeddings") if isinstance(recipe, dict) else None
        named = [word.get("token") for word in words if isinstance(word, dict)] if isinstance(words, list) else []
        return tuple(token for token in named if isinstance(token, str))

    def words(self, step: int) -> dict[str, dict[str, Any]]:
        """Return the vectors of the checkpoint of `step` (-1: the last): word -> encoder -> tensor; {} for none.

        Raises ValueError for a step that is not there.
        """
        from .lora_file import load_safetensors
        from .words import split_bundle

        return split_bundle(load_safetensors(self.checkpoint(step).path)[0])[1]

    @property
    def clip_skip(self) -> int | None:
        """The CLIP layer of the training, as in CLIP Set Last Layer (-1, -2, ...); None: the CLIP's own default."""
        layer = self.config().get("clip_skip")
        return layer if isinstance(layer, int) else None

    @property
    def has_clip_skip(self) -> bool:
        """Whether `clip_skip` is known: a run folder without a readable config.json cannot tell."""
        return "clip_skip" in self.config()

    def config(self) -> dict[str, Any]:
        """Return config.json; an empty dict when it is missing or damaged (`problems` says so)."""
        return self._read_config()[0]

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Return the readable checkpoints in the order of their steps."""
        return self._scan_checkpoints()[0]

    def checkpoint(self, step: int) -> Checkpoint:
        """Return the checkpoint of `step`, -1 for the last. Raises ValueError listing the steps there are."""
        found = {checkpoint.step: checkpoint for checkpoint in self.checkpoints()}
        if step == LAST and found:
            return found[max(found)]
        if step not in found:
            steps = list(found) or "none: the run has no readable checkpoint yet"
            raise ValueError(f"step: got {step}, allowed for run '{self.name}' {steps}, choose one of them")
        return found[step]

    def last_checkpoint(self) -> Checkpoint | None:
        """Return the readable checkpoint with the highest step, or None."""
        return max(self.checkpoints(), key=lambda checkpoint: checkpoint.step, default=None)

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl by step; where a step occurs twice the later line counts."""
        return self._read_metrics()[0]

    def losses(self) -> list[float]:
        """Return the loss of each recorded step, in order (what the LOSS_MAP socket carries)."""
        return [line["loss"] for line in self.metrics() if isinstance(line.get("loss"), (int, float))]

    def sample_images(self) -> tuple[SampleImage, ...]:
        """Return the previews by step and index."""
        found = []
        for path in _files(self.folder / "samples"):
            if match := _SAMPLE.match(path.name):
                found.append(SampleImage(int(match[1]), int(match[2]), path))
        return tuple(sorted(found, key=lambda image: (image.step, image.index)))

    def problems(self) -> tuple[str, ...]:
        """Return one sentence for each thing in the folder that cannot be read; () for a sound run."""
        if not self.folder.is_dir():
            return (f"{self.name}: the run folder is gone, train again or open another run",)
        parts = (self._read_config()[1], self._scan_checkpoints()[1], self._read_metrics()[1], self._scan_state()[1])
        return tuple(problem for part in parts for problem in part)

    def listing(self) -> str:
        """Return a hash of the names, sizes and times of what the run recorded: another one means it went on."""
        parts = [self.folder / "config.json", self.folder / "metrics.jsonl", *_files(self.folder / "checkpoints")]
        found = [(path.name, path.stat()) for path in parts if path.exists()]
        return content_key([self.name, *([name, status.st_size, status.st_mtime_ns] for name, status in found)])

    def _read_config(self) -> tuple[dict[str, Any], list[str]]:
        path = self.folder / "config.json"
        try:
            value = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return {}, [f"{self.name}: config.json is missing; checkpoints can be used, resuming needs it"]
        except (OSError, ValueError) as error:
            return {}, [f"{self.name}: config.json cannot be read ({error}); checkpoints can be used"]
        if not isinstance(value, dict):
            return {}, [f"{self.name}: config.json holds no JSON object; checkpoints can be used"]
        return value, []

    def _scan_checkpoints(self) -> tuple[tuple[Checkpoint, ...], list[str]]:
        from .lora_file import check_safetensors

        good: dict[int, Checkpoint] = {}
        problems = []
        for path in _files(self.folder / "checkpoints"):
            if not (match := _CHECKPOINT.search(path.name)):
                continue
            try:
                check_safetensors(path)
            except ValueError as error:
                problems.append(f"{self.name}: checkpoint skipped: {error}")
                continue
            good[int(match[1])] = Checkpoint(int(match[1]), path)
        return tuple(good[step] for step in sorted(good)), problems

    def _read_metrics(self) -> tuple[list[dict[str, Any]], list[str]]:
        path = self.folder / "metrics.jsonl"
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return [], []
        except OSError as error:
            return [], [f"{self.name}: metrics.jsonl cannot be read ({error})"]
        by_step: dict[int, dict[str, Any]] = {}
        torn = 0
        for line in lines:
            value = _metrics_line(line)
            if value is not None:
                by_step[value["step"]] = value
            elif line.strip() and line is not lines[-1]:  # a torn last line is what any kill leaves
                torn += 1
        problems = [f"{self.name}: metrics.jsonl has {torn} unreadable lines, skipped"] if torn else []
        return [by_step[step] for step in sorted(by_step)], problems

    def _states(self) -> list[tuple[int, Path]]:
        """Return (step, path) of the training states, newest first."""
        matches = ((_STATE.match(path.name), path) for path in _files(self.folder / "state"))
        return sorted(((int(match[1]), path) for match, path in matches if match), reverse=True)

    def _scan_state(self) -> tuple[None, list[str]]:
        from .lora_file import check_safetensors

        problems = []
        for _, path in self._states():
            try:
                check_safetensors(path)
            except ValueError as error:
                problems.append(f"{self.name}: training state skipped: {error}")
        return None, problems


def _metrics_line(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    good = isinstance(value, dict) and type(value.get("step")) is int
    return value if good else None


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []


class RunWriter:
    """The writing side of one run; a training has one. Every file appears whole or not at all."""

    def __init__(self, run: Run) -> None:
        """Write into `run`, an existing folder (`create` makes one)."""
        self.run = run
        self.problems: list[str] = []

    @staticmethod
    def create(root: Path, key: str, name: str, config: dict[str, Any]) -> "RunWriter":
        """Return a writer for the run with this content key: the one there is, or a new folder under `root`.

        config: JSON values; `content_key` and `name` are put in. An existing run keeps its name and gets the new
        config. A folder that belongs to another key is never touched.
        """
        run = find_run(root, key) or Run(_free_folder(root, key, name))
        run.folder.mkdir(parents=True, exist_ok=True)
        kept = run.config().get("name", name)
        write_json(run.folder / "config.json", config | {"content_key": key, "name": kept})
        for part in (".", "checkpoints", "state", "samples"):
            remove_leftovers(run.folder / part)
        return RunWriter(run)

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Append one step to metrics.jsonl; numbers that are not finite are written as null."""
        text = json.dumps(_finite(line), allow_nan=False).encode() + b"\n"
        path = self.run.folder / "metrics.jsonl"
        try:
            with open(path, "ab+") as file:
                file.write(_line_break_if_torn(file) + text)
        except OSError as error:
            raise OSError(error.errno, not_saved_message(path, len(text), error)) from error

    def truncate_metrics(self, after_step: int) -> None:
        """Drop the lines of steps after `after_step` (they are trained again) and lines that cannot be read."""
        kept = [line for line in self.run.metrics() if line["step"] <= after_step]
        write_bytes(self.run.folder / "metrics.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in kept))

    def checkpoint_path(self, step: int) -> Path:
        """Return where the checkpoint of `step` belongs."""
        return self.run.folder / "checkpoints" / f"{self.run.name}-{step:0{STEP_DIGITS}d}.safetensors"

    def save_checkpoint(self, step: int, tensors: dict[str, Any], metadata: dict[str, str]) -> Path:
        """Write the LoRA file of `step`; returns its path. Raises OSError when the disk is full."""
        from .lora_file import save_safetensors

        return save_safetensors(self.checkpoint_path(step), tensors, metadata)

    def save_state(self, step: int, tensors: dict[str, Any], values: dict[str, Any]) -> Path:
        """Write what resuming at `step` needs, tensors and JSON values in one file, then delete the older state."""
        from .lora_file import save_safetensors

        metadata = {"step": str(step), "values": json.dumps(values)}
        path = self.run.folder / "state" / f"state-{step:0{STEP_DIGITS}d}.safetensors"
        save_safetensors(path, tensors, metadata)
        for _, older in self.run._states():
            if older != path:
                older.unlink(missing_ok=True)
        return path

    def load_state(self) -> tuple[int, dict[str, Any], dict[str, Any]] | None:
        """Return (step, tensors, values) of the newest state that is sound, or None.

        A damaged state is left where it is, skipped, and named in `self.problems`.
        """
        from .lora_file import load_safetensors

        for step, path in self.run._states():
            try:
                tensors, metadata = load_safetensors(path)
                return int(metadata["step"]), tensors, json.loads(metadata["values"])
            except (KeyError, ValueError) as error:
                self.problems.append(f"{self.run.name}: training state of step {step} skipped: {error}")
        return None

    def save_sample(self, step: int, index: int, image: Any, metadata: dict[str, str]) -> Path:
        """Write a preview (PIL image) as PNG with text metadata; returns its path."""
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        for key, value in sorted(metadata.items()):
            info.add_text(key, value)
        path = self.run.folder / "samples" / f"{step:0{STEP_DIGITS}d}-{index:02d}.png"
        size = image.width * image.height * 3
        return write_file(path, lambda temporary: image.save(temporary, format="PNG", pnginfo=info), size)


def _finite(value: Any) -> Any:
    """Return JSON values with None in place of numbers that are not finite: JSON has no word for them."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _line_break_if_torn(file: Any) -> bytes:
    """Return a line break when the file ends within a line, so that a new line does not join a torn one."""
    if file.seek(0, 2) == 0:
        return b""
    file.seek(-1, 2)
    return b"" if file.read(1) == b"\n" else b"\n"


def _free_folder(root: Path, key: str, name: str) -> Path:
    """Return a folder for a new run: not there yet, or there and empty (a kill right after it was made)."""
    for digits in range(8, len(key) + 1):
        folder = root / run_folder_name(name, key, digits)
        if not folder.exists() or not any(folder.iterdir()):
            return folder
    raise FileExistsError(f"{root / run_folder_name(name, key)}: got a folder without its config.json, move it away")


def list_runs(root: Path) -> list[Run]:
    """Return the run folders under `root`, the last changed first. Cheap: one look at each folder, no file read."""
    found = []
    try:
        for folder in root.iterdir():
            if (folder / "config.json").is_file() or (folder / "checkpoints").is_dir():
                found.append((_changed(folder), folder.name, Run(folder)))
    except OSError:
        return []
    return [run for _, _, run in sorted(found, key=lambda entry: entry[:2], reverse=True)]


def _changed(folder: Path) -> int:
    times = [part.stat().st_mtime_ns for part in (folder, folder / "checkpoints") if part.exists()]
    return max(times, default=0)


def find_run(root: Path, key: str) -> Run | None:
    """Return the run under `root` whose config.json has this content key, or None.

    Folders whose name ends like the key are looked at first; a renamed folder is found too.
    """
    runs = sorted(list_runs(root), key=lambda run: not run.name.endswith(key[:8]))
    return next((run for run in runs if run.config().get("content_key") == key), None)
