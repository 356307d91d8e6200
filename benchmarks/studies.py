"""What the studies of the demo model share: arms that are run once, trainings, grids, and how their pages are written.

An arm is a function of `Studies` that gives a row of figures. Its row is one line of DIR/rows.jsonl.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "scripts"))

RESAMPLES = 10_000
_WIDEST = 1400  # of a grid in the documentation, pixels


def arguments(description: str, arms: Collection[str], folder: str, docs: str) -> argparse.Namespace:
    """Return what the command line asks for: arms (all without names), work (below the cache), docs.

    folder: name of the default folder of rows and grids. docs: what ``--docs`` does, for its help.
    """
    from environment import cache_folder

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("arms", nargs="*", metavar="ARM", help=f"some of {', '.join(arms)} (default: all)")
    parser.add_argument("--work", type=Path, default=cache_folder() / folder, help="where rows and grids go")
    parser.add_argument("--docs", action="store_true", help=docs)
    given = parser.parse_args()
    unknown = [name for name in given.arms if name not in arms]
    if unknown:
        parser.error(f"ARM: got {unknown}, allowed {list(arms)}")
    given.arms = given.arms or list(arms)
    return given


@dataclass(frozen=True)
class Trained:
    """A finished training: what its checkpoints hold (step -> tensors), and what it took.

    seconds: on the wall. clock: this process's own seconds at the end of each step. losses: of each step.
    """

    checkpoints: dict[int, dict[str, Any]]
    seconds: float
    clock: tuple[float, ...]
    losses: tuple[float, ...]


class Studies:
    """Runs arms, one line and one grid each."""

    def __init__(self, work: Path, version: int = 1) -> None:
        """version: of the arms; a row of another one is not used again."""
        from glitch_lora.host.demo_model import load_demo_model

        self.work = work
        self.rows = work / "rows.jsonl"
        work.mkdir(parents=True, exist_ok=True)
        self.parts = load_demo_model()
        self.weights = f"{_weights_hash()} v{version}"

    def run(self, name: str, arm: Callable[["Studies"], dict[str, Any]]) -> None:
        """Run an arm unless its row is there, made with these weights; print the row."""
        row = self.row(name)
        if not row:
            started = time.perf_counter()
            row = {"arm": name, "weights": self.weights, **arm(self)}
            row["seconds"] = round(time.perf_counter() - started, 1)
            with self.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    def row(self, name: str) -> dict[str, Any]:
        """Return the newest row of an arm with these weights, empty when there is none."""
        lines = self.rows.read_text(encoding="utf-8").splitlines() if self.rows.exists() else []
        rows = [json.loads(line) for line in lines]
        found = [row for row in rows if row["arm"] == name and row["weights"] == self.weights]
        return found[-1] if found else {}

    def document(self, names: Iterable[str], prefix: str) -> None:
        """Copy the grids of finished arms to docs/images as ``prefix-name.jpg``."""
        from PIL import Image

        for name in names:
            with Image.open(self.work / f"demo-{name}.png") as grid:
                small = grid.convert("RGB")
                small.thumbnail((_WIDEST, _WIDEST), Image.Resampling.LANCZOS)
                small.save(ROOT / "docs" / "images" / f"{prefix}-{name}.jpg", quality=85, optimize=True)

    def train(self, name: str, dataset: Any, **recipe: Any) -> Trained:
        """Train on a dataset with the pack's own trainer, from nothing, and return every checkpoint."""
        import shutil

        from glitch_lora.host.graph import ComfyGraph
        from glitch_lora.training.lora_file import load_safetensors
        from glitch_lora.training.recipe import Recipe
        from glitch_lora.training.session import Request, train

        root = self.work / "runs" / name
        shutil.rmtree(root, ignore_errors=True)  # so that the time is that of a whole training
        settings = {"target_modules": "all-linear+conv", "batch_size": 4, "learning_rate": 1e-3, "rank": 16}
        settings |= {"alpha": 16.0, "gradient_checkpointing": False, "save_dtype": "fp32", "caption_dropout": 0.1}
        request = Request(name, root / "runs", root / "loras", root / "cache")
        clock = _Clock()
        started = time.perf_counter()
        outcome = train(ComfyGraph(*self.parts), dataset, Recipe(**(settings | recipe)), request, clock)
        seconds = time.perf_counter() - started
        steps = [checkpoint.step for checkpoint in outcome.run.checkpoints()]
        tensors = {step: load_safetensors(outcome.run.checkpoint(step).path)[0] for step in steps}
        return Trained(tensors, seconds, tuple(clock.steps), tuple(outcome.run.losses()))

    def with_checkpoint(self, tensors: dict[str, Any] | None) -> tuple[Any, Any, Any]:
        """Return the parts with a checkpoint on them, as Apply Checkpoint puts it there: its LoRA and its words."""
        from glitch_lora.host.checkpoint import apply_checkpoint

        model, clip, vae = self.parts
        if tensors is None:
            return model, clip, vae
        return (*apply_checkpoint(model, clip, tensors, 1.0), vae)

    def dataset(self, name: str, drawn: Sequence[Any]) -> Any:
        """Return drawn pictures (with pixels and caption) as a dataset on disk."""
        from glitch_lora.dataset.kept_folder import kept_dataset

        pixels, captions = [one.pixels for one in drawn], [one.caption for one in drawn]
        return kept_dataset(self.work / "datasets", name, pixels, captions)

    def grid(self, name: str, title: str, columns: Sequence[str], rows: Sequence[str], cells: Sequence[Any]) -> None:
        """Write a labelled grid: cells in reading order."""
        from glitch_lora.sampling.grid import draw_pages, list_table
        from PIL import Image

        pictures = [Image.fromarray(cell) for cell in cells]
        table = list_table(pictures, columns, len(columns), title, rows)
        draw_pages([table])[0].save(self.work / f"demo-{name}.png")


class _Clock:
    """The events of a training, told to nobody; when each step ended is kept."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def check(self) -> None: ...
    def status(self, line: str) -> None: ...
    def preview(self, step: int, image: Any) -> None: ...

    def step(self, step: int, total: int, line: str) -> None:
        self.steps.append(time.process_time())


def _weights_hash() -> str:
    from glitch_lora.host.demo_model import WEIGHTS

    return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:12]


def write_tables(page: Path, tables: Sequence[str]) -> None:
    """Put Markdown lines between the marks ``<!-- tables -->`` and ``<!-- end of tables -->`` of a page."""
    head, tail = page.read_text(encoding="utf-8").split("<!-- tables -->", 1)
    rest = tail.split("<!-- end of tables -->", 1)[1]
    text = "\n".join(tables)
    page.write_text(f"{head}<!-- tables -->\n\n{text}\n\n<!-- end of tables -->{rest}", encoding="utf-8")


def mean(measure: Callable[[Any], float], pictures: Sequence[Any]) -> float:
    """Return the mean of a measure over pictures."""
    return sum(map(measure, pictures)) / len(pictures)


def share(answers: Sequence[bool]) -> float:
    """Return how many of the answers are yes, 0..1."""
    return sum(answers) / len(answers)


def interval(values: Any) -> tuple[float, float, float]:
    """Return the mean and its 95 % interval by the percentile bootstrap.

    values: one per picture, or [trainings, prompts]: then both are drawn anew, each by itself, which allows for
    trainings that differ and prompts that differ (the pigeonhole bootstrap, Owen 2007).
    """
    import numpy as np
    from glitch_lora.dataset.seeds import generator

    table = np.atleast_2d(np.asarray(values, float))
    source = generator(0, "bootstrap")
    if len(table) == 1:
        drawn = table[0][source.integers(0, table.shape[1], (RESAMPLES, table.shape[1]))].mean(1)
    else:
        rows = source.integers(0, len(table), (RESAMPLES, len(table), 1))
        drawn = table[rows, source.integers(0, table.shape[1], (RESAMPLES, 1, table.shape[1]))].mean((1, 2))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(table.mean()), float(low), float(high)
