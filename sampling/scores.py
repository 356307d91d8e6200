"""A sweep in figures: every picture measured, and compared with the base at the same prompt, seed and settings.

<sweep>/scores.json    each picture's values, and the means of each checkpoint and strength
        scores.txt     the means as a table
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..metrics.profile import Reference
from ..metrics.registry import Metric
from ..metrics.tables import as_table, described
from ..training.atomic import write_bytes, write_json
from ..training.plot import Panel, PlotSettings, TypeFace, default_typeface, plot_panels
from .plan import BASE, BASE_LABEL, Cell, axis_label
from .sweep import Sweep, Watcher, cell_picture

FORMAT = 1
State = tuple[int, float]
Values = dict[str, float]
_MOST_PANELS = 8
_LEAST_BASES = 8  # fewer do not tell the spread of a metric


@dataclass(frozen=True)
class Scores:
    """What a sweep was found to be. cells: values of each picture that is there, paired metrics against its base.

    missing: pictures that could not be read. metrics: what was measured. sets: of each state, what its pictures are
    together.
    """

    cells: dict[Cell, Values]
    missing: int
    metrics: tuple[Metric, ...]
    sets: dict[State, Values] = field(default_factory=dict)

    def states(self) -> dict[State, Values]:
        """Return the values of each (step, strength), the base first.

        They are means over prompts, seeds and settings, and what these pictures are together, such as how different.
        """
        found: dict[State, list[Values]] = {}
        for cell, values in self.cells.items():
            found.setdefault(cell.state, []).append(values)
        return {state: _means(rows) | self.sets.get(state, {}) for state, rows in sorted(found.items())}

    def profile(self) -> dict[State, Values]:
        """Return for each state but the base how far its means are from the base's pictures, as robust z-scores."""
        names = [metric.name for metric in self.metrics if metric.kind == "single"]
        base = [values for cell, values in self.cells.items() if cell.checkpoint == BASE]
        if not base:
            return {}
        reference = Reference({name: tuple(row[name] for row in base) for name in names})
        states = {state: values for state, values in self.states().items() if state[0] != BASE}
        return {
            state: {name: reference.score(name, values[name]) for name in names} for state, values in states.items()
        }


def score_sweep(
    sweep: Sweep, metrics: Iterable[Metric], watcher: Watcher | None = None, check: Callable[[], None] = lambda: None
) -> Scores:
    """Measure every picture of a sweep. Raises ValueError when none is there, or nothing can be said of those."""
    files, wanted = sweep.cells(), tuple(metrics)
    base: tuple[Cell, NDArray[np.uint8] | None] | None = None
    cells: dict[Cell, Values] = {}
    # Pictures with the same base follow each other, so that each base is read once.
    for number, cell in enumerate(sorted(files, key=lambda cell: (repr(_base_of(cell)), cell.state)), start=1):
        check()
        partner = _base_of(cell)
        if base is None or base[0] != partner:
            base = partner, _pixels(files[partner])
        picture = base[1] if cell == partner else _pixels(files[cell])
        if picture is not None:
            cells[cell] = _values(picture, base[1], wanted)
        if watcher:
            watcher.update(number)
    if not cells:
        raise ValueError("sweep: got no picture that can be read, allowed is a rendered sweep, run the sweep again")
    ordered = {cell: cells[cell] for cell in files if cell in cells}
    scores = Scores(ordered, len(files) - len(cells), wanted, _sets(ordered, files, wanted, check))
    if not any(scores.states().values()):
        raise ValueError(
            "metrics: got nothing that can be said of these pictures, allowed are diversity for two or more pictures "
            "of each checkpoint and comparisons where the base is there, choose others or render more"
        )
    return scores


def _sets(
    cells: Iterable[Cell], files: Mapping[Cell, Path], metrics: Iterable[Metric], check: Callable[[], None]
) -> dict[State, Values]:
    """Return what the pictures of each state are together; nothing for a state of one picture."""
    wanted = [metric for metric in metrics if metric.kind == "set"]
    states: dict[State, list[Path]] = {}
    for cell in cells if wanted else ():
        states.setdefault(cell.state, []).append(files[cell])
    found: dict[State, Values] = {}
    for state, paths in states.items():
        check()
        pictures = [picture for path in paths if (picture := _pixels(path)) is not None]
        if len(pictures) > 1:
            found[state] = {metric.name: metric.function(pictures) for metric in wanted}
    return found


def _base_of(cell: Cell) -> Cell:
    return replace(cell, checkpoint=BASE, strength=0.0)


def _pixels(path: Path) -> NDArray[np.uint8] | None:
    picture = cell_picture(path)
    return None if picture is None else np.asarray(picture)


def _values(picture: NDArray[np.uint8], base: NDArray[np.uint8] | None, metrics: Iterable[Metric]) -> Values:
    values = {}
    for metric in metrics:
        if metric.kind == "single":
            values[metric.name] = metric.function(picture)
        elif metric.kind == "paired" and base is not None:
            values[metric.name] = metric.function(picture, base)
    return values


def _means(rows: list[Values]) -> Values:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: fmean(row[name] for row in rows if name in row) for name in names}


def score_table(scores: Scores) -> str:
    """Return the report: mean values of each state, and which metrics moved most from the base.

    Fewer than eight pictures of the base give no ranking.
    """
    parts = [f"{len(scores.cells)} pictures measured" + (f", {scores.missing} missing" if scores.missing else "")]
    parts.append(as_table({_label(state): values for state, values in scores.states().items()}))
    moved = [f"{_label(state)}: {_most(scores_of)}" for state, scores_of in scores.profile().items() if scores_of]
    if moved:
        parts.append(_ranking(moved, sum(cell.checkpoint == BASE for cell in scores.cells)))
    return "\n\n".join(parts)


def _ranking(moved: list[str], bases: int) -> str:
    """Return which metrics moved most, or why that cannot be said."""
    if bases < _LEAST_BASES:
        return (
            f"What moved most is not ranked: {bases} picture{'s' if bases > 1 else ''} of the base do not tell how "
            f"much its pictures differ by themselves. Sweep prompts and seeds that make {_LEAST_BASES} or more."
        )
    return "Moved most, in spreads of the base's pictures:\n" + "\n".join(moved)


def _label(state: State) -> str:
    step, strength = state
    return BASE_LABEL if step == BASE else f"{axis_label('checkpoint', step)} x{strength:g}"


def _most(values: Mapping[str, float], count: int = 4) -> str:
    largest = sorted(values, key=lambda name: -abs(values[name]))[:count]
    return ", ".join(f"{name} {values[name]:+.1f}" for name in largest)


def write_scores(sweep: Sweep, scores: Scores) -> None:
    """Write scores.json and scores.txt into the sweep's folder, whole or not at all. Raises OSError."""
    profile = scores.profile()
    states = [
        {"checkpoint": state[0], "strength": state[1], "values": values, "profile": profile.get(state)}
        for state, values in scores.states().items()
    ]
    cells = [{"cell": cell.to_json(), "values": values} for cell, values in scores.cells.items()]
    about = {"format": FORMAT, "metrics": described(scores.metrics), "missing": scores.missing}
    write_json(sweep.folder / "scores.json", about | {"states": states, "cells": cells})
    write_bytes(sweep.folder / "scores.txt", (score_table(scores) + "\n").encode())


def plot_scores(scores: Scores, typeface: TypeFace = default_typeface) -> Image.Image:
    """Return the means over the steps, one curve for each strength, or over the strengths of a single step.

    One panel for each of the metrics that moved most, eight at most; the base is at 0. Raises ValueError when there is
    nothing but the base.
    """
    states = scores.states()
    steps = sorted({step for step, _ in states if step != BASE})
    if not steps:
        raise ValueError("sweep: got the base alone, allowed is a sweep with a checkpoint, render one")
    over_steps = len(steps) > 1
    curves: dict[str, list[dict[str, Any]]] = {}
    for (step, strength), values in states.items():
        if step != BASE:
            name = f"strength {strength:g}" if over_steps else axis_label("checkpoint", step)
            curves.setdefault(name, []).append({"step": step if over_steps else strength, **values})
    base = [{"step": 0, **states[BASE, 0.0]}] if (BASE, 0.0) in states else []
    runs = [(name, base + lines) for name, lines in curves.items()]
    panels = _panels(scores)
    x_title = "step" if over_steps else "strength"
    settings = PlotSettings(1200, 200 + 220 * len(panels), 0.0, x_title=x_title, whole_x=over_steps)
    return plot_panels(runs, list(curves), panels, settings, typeface)


def _panels(scores: Scores) -> list[Panel]:
    """Return the panels: what compares with the base, how different the pictures are, then what moved most."""
    titles = {metric.name: f"{metric.title}{f' ({metric.unit})' if metric.unit else ''}" for metric in scores.metrics}
    paired = [metric.name for metric in scores.metrics if metric.kind == "paired"]
    profile = list(scores.profile().values())
    moved = {name: max(abs(values[name]) for values in profile) for name in (profile[0] if profile else {})}
    most = sorted(moved, key=lambda name: -moved[name])
    compared = [name for name in ("distance", "structure_loss", "colour_distance") if name in paired] or paired[:3]
    together = list(dict.fromkeys(name for values in scores.sets.values() for name in values))
    names = [*compared, *together, *most][:_MOST_PANELS]
    return [Panel(name, titles[name], 1 / len(names), False) for name in names]
