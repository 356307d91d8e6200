"""The sweep: render the missing cells of a plan, one checkpoint after the other, and keep each at once.

    <run>/sweeps/cells/<key>.png          pictures, shared by all sweeps of the run
                 <sweep>/manifest.json    the plan and the keys of its pictures
                 <sweep>/grid-1.png       pages, written by the grid

An interrupted sweep keeps what is finished; a repeated one renders only what is missing or damaged.
"""

import json
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..training.atomic import remove_leftovers, write_json
from ..training.file_names import content_key
from .cells import FORMAT, Weights, cell_key, read_cell, to_picture, write_cell
from .plan import Cell, Page, SweepPlan


class Prepared(Protocol):
    """Model and text encoder with one LoRA at one strength, or without.

    text_state: equal for equal text encoder weights, so that a prompt is encoded once for all that share them.
    """

    @property
    def text_state(self) -> Hashable: ...

    def encode(self, prompt: str) -> Any:
        """Return the conditioning of a prompt."""
        ...

    def render(self, cell: Cell, positive: Any, negative: Any) -> NDArray[np.floating[Any]]:
        """Return the picture, float [H, W, 3] in 0..1."""
        ...


class Renderer(Protocol):
    """Gives the model with a checkpoint applied; the real one is `sampling.lora_renderer.LoraRenderer`."""

    def prepare(self, checkpoint: int, strength: float) -> Prepared:
        """Return the model with the LoRA of a step, or without for step 0. Called once per (step, strength)."""
        ...


class Watcher(Protocol):
    """Is told how far the sweep is; `host.progress.Progress` is one."""

    def update(self, value: int, preview: Image.Image | None = None) -> None:
        """`value` pictures of the plan are there; `preview` is the newest."""
        ...

    def text(self, line: str) -> None:
        """Show a line of text."""
        ...


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder, the value on a GLITCH_SWEEP wire: only a path, read anew at each call."""

    folder: Path

    @property
    def run_folder(self) -> Path:
        """Return the folder of the run that was swept."""
        return self.folder.parent.parent

    def manifest(self) -> dict[str, Any]:
        """Return manifest.json. Raises ValueError when it is missing or damaged."""
        path = self.folder / "manifest.json"
        try:
            value = json.loads(path.read_text("utf-8"))
            if value["format"] == FORMAT:
                return dict(value)
            problem = f"format {value['format']}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"a manifest that cannot be read ({error})"
        raise ValueError(f"sweep: got {problem} in {path.parent.name}, allowed format {FORMAT}, run the sweep again")

    def plan(self) -> SweepPlan:
        """Return the plan of the sweep."""
        return SweepPlan.from_json(self.manifest()["plan"])

    def cells(self) -> dict[Cell, Path]:
        """Return each picture's settings and file (which may not be rendered yet), in the order of rendering."""
        manifest = self.manifest()
        cells = SweepPlan.from_json(manifest["plan"]).cells()
        return {cell: cell_path(self.folder, key) for cell, key in zip(cells, manifest["cells"], strict=True)}

    def pages(self) -> tuple[Page, ...]:
        """Return the tables of the sweep."""
        return self.plan().layout()


def cell_picture(path: Path) -> Image.Image | None:
    """Return the picture of one of `Sweep.cells`' files, RGB; None when it is missing or damaged."""
    found = read_cell(path, path.stem)
    return found[0] if found else None


def cell_path(sweep_folder: Path, key: str) -> Path:
    """Return the file of a picture, shared by all sweeps of the run."""
    return sweep_folder.parent / "cells" / f"{key}.png"


def run_sweep(
    run_folder: Path,
    plan: SweepPlan,
    weights: Weights,
    renderer: Renderer,
    watcher: Watcher,
    check_interrupt: Callable[[], None],
    *,
    about: Mapping[str, Any],
    chunks: Mapping[str, str],
    with_settings: bool = True,
) -> tuple[Sweep, str]:
    """Render what is missing of `plan` into the run folder; returns the sweep and a report for the user.

    about: JSON values for the title (`run`, `trigger`). chunks: PNG text for every picture. with_settings: write
    each cell's settings into its PNG. The number of pictures and, once one picture was timed, how long they will
    take are told before and during the work. Whatever ends the sweep early, finished pictures stay.
    """
    cells = plan.cells()
    keys = [cell_key(cell, weights) for cell in cells]
    sweep = _open_sweep(run_folder, plan, keys, about)
    files = {cell: cell_path(sweep.folder, key) for cell, key in zip(cells, keys, strict=True)}
    pace = Pace()
    missing = _missing(files, pace, check_interrupt)
    watcher.text(plan.describe() + "; " + pace.outlook(len(cells) - len(missing), missing))
    watcher.update(len(cells) - len(missing))
    started = time.monotonic()

    done = len(cells) - len(missing)
    for cell, picture, seconds in _rendered(missing, renderer, check_interrupt):
        settings = {"settings": cell.to_json() | dict(about)} if with_settings else {}
        write_cell(files[cell], files[cell].stem, picture, seconds, settings, chunks)
        pace.measured(cell, seconds)
        done += 1
        watcher.update(done, picture)
        watcher.text(f"Picture {done}/{len(cells)} · {plan.cell_label(cell)[:80]} · {pace.left(missing, cell)}")
    seconds = time.monotonic() - started
    return sweep, _report(plan, len(missing), seconds, f"{sweep.folder.name} in {about.get('run', '')}/sweeps")


def _report(plan: SweepPlan, rendered: int, seconds: float, folder: str) -> str:
    """Return what a finished sweep did."""
    reused = plan.count - rendered
    from_before = f"{reused} reused from before" if reused else "none was there before"
    done = (
        f"Rendered {rendered} in {_duration(seconds)}, {from_before}."
        if rendered
        else (f"All {reused} reused from before, nothing to render.")
    )
    return f"{plan.describe()}\n{done}\nFolder: {folder}"


def _open_sweep(run_folder: Path, plan: SweepPlan, keys: Sequence[str], about: Mapping[str, Any]) -> Sweep:
    manifest = {"format": FORMAT, "plan": plan.to_json(), "cells": list(keys), "about": dict(about)}
    sweep = Sweep(run_folder / "sweeps" / content_key(manifest)[:16])
    write_json(sweep.folder / "manifest.json", manifest)
    remove_leftovers(sweep.folder)
    remove_leftovers(sweep.folder.parent / "cells")
    return sweep


def _missing(files: Mapping[Cell, Path], pace: "Pace", check_interrupt: Callable[[], None]) -> list[Cell]:
    """Return the cells without a good picture; the good ones tell `pace` what they took."""
    missing = []
    for cell, path in files.items():
        check_interrupt()
        if found := read_cell(path, path.stem):
            pace.measured(cell, found[1])
        else:
            missing.append(cell)
    return missing


def _rendered(
    missing: Sequence[Cell], renderer: Renderer, check_interrupt: Callable[[], None]
) -> Iterable[tuple[Cell, Image.Image, float]]:
    """Yield (cell, picture, seconds), the cells of one state together; each LoRA is applied once.

    All prompts of a state are encoded before its first picture, so that on a small device text encoder and model
    change places once.
    """
    encoded: dict[tuple[Hashable, str], Any] = {}
    for state, group in groupby(missing, key=lambda cell: cell.state):
        check_interrupt()
        cells = list(group)
        prepared = renderer.prepare(*state)
        encoded = {key: value for key, value in encoded.items() if key[0] == prepared.text_state}
        for text in dict.fromkeys(text for cell in cells for text in (cell.prompt, cell.negative)):
            check_interrupt()
            if (prepared.text_state, text) not in encoded:
                encoded[prepared.text_state, text] = prepared.encode(text)
        for cell in cells:
            check_interrupt()
            started = time.monotonic()
            positive, negative = (encoded[prepared.text_state, text] for text in (cell.prompt, cell.negative))
            picture = to_picture(prepared.render(cell, positive, negative))
            yield cell, picture, time.monotonic() - started


class Pace:
    """Measured seconds per unit of work, and what they say about the work ahead."""

    def __init__(self) -> None:
        self._rates: list[float] = []

    def measured(self, cell: Cell, seconds: float) -> None:
        """Take in that a picture took so many seconds."""
        self._rates.append(seconds / cell.work)

    def seconds(self, cells: Iterable[Cell]) -> float | None:
        """Return how long `cells` will take; None before anything was measured.

        The median rate counts, so that the first picture, which waits for the model to load, does not mislead.
        """
        return median(self._rates) * sum(cell.work for cell in cells) if self._rates else None

    def outlook(self, there: int, missing: Sequence[Cell]) -> str:
        """Return the line told before the sweep starts."""
        seconds = self.seconds(missing)
        if not missing:
            return f"all {there} are there, nothing to render"
        time_text = "time known after the first" if seconds is None else f"about {_duration(seconds)}"
        return f"{there} are there, {len(missing)} to render, {time_text}"

    def left(self, missing: Sequence[Cell], just_done: Cell) -> str:
        """Return how long the cells after `just_done` will take, as text."""
        return f"{_duration(self.seconds(missing[missing.index(just_done) + 1 :]) or 0.0)} left"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
