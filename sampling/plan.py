"""What a sweep renders: the axes, the distinct pictures they need, and the pages of rows and columns that show them."""

import math
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, Literal, get_args

AxisName = Literal[
    "checkpoint", "strength", "prompt", "negative", "seed", "steps", "cfg", "size", "sampler", "scheduler"
]
AXES: tuple[AxisName, ...] = get_args(AxisName)
BASE = 0
BASE_LABEL = "base (no LoRA)"


@dataclass(frozen=True)
class Cell:
    """One picture: equal cells are the same picture, so it is rendered once.

    checkpoint: training step, 0 is the base without LoRA. strength: of the LoRA on model and text encoder; the base
    has 0, and a checkpoint at strength 0 is the base. size: (width, height) in pixels. negative: "" for none.
    """

    checkpoint: int
    strength: float
    prompt: str
    negative: str
    seed: int
    steps: int
    cfg: float
    size: tuple[int, int]
    sampler: str
    scheduler: str

    @property
    def state(self) -> tuple[int, float]:
        """Return what decides the weights: (checkpoint, strength)."""
        return self.checkpoint, self.strength

    @property
    def work(self) -> int:
        """Return a number that rendering time is roughly proportional to: pixels times sampler steps."""
        return self.size[0] * self.size[1] * self.steps

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; `Cell.from_json` reads them back."""
        return asdict(self) | {"size": list(self.size)}

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Cell":
        """Return the cell written by `to_json`."""
        width, height = values["size"]
        return Cell(**(values | {"size": (width, height)}))


@dataclass(frozen=True)
class Page:
    """One table of pictures.

    settings: labels of what differs from page to page. rows, columns: labels. cells: one tuple per row.
    base_row, base_column: index of the row or column without LoRA, or None.
    """

    settings: tuple[str, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    base_row: int | None = None
    base_column: int | None = None


@dataclass(frozen=True)
class SweepPlan:
    """A list of values for each axis, two of which become rows and columns; the others become pages.

    checkpoint holds steps without the base, which always comes along: in front on the checkpoint axis when that is
    shown as rows or columns, else in front on the strength axis when that is shown, else as a page of its own.
    Refuses (ValueError) an empty axis, the same axis for rows and columns, and steps below 1.
    """

    checkpoint: tuple[int, ...]
    prompt: tuple[str, ...]
    strength: tuple[float, ...] = (1.0,)
    negative: tuple[str, ...] = ("",)
    seed: tuple[int, ...] = (0,)
    steps: tuple[int, ...] = (20,)
    cfg: tuple[float, ...] = (7.0,)
    size: tuple[tuple[int, int], ...] = ((512, 512),)
    sampler: tuple[str, ...] = ("euler",)
    scheduler: tuple[str, ...] = ("normal",)
    rows: AxisName = "prompt"
    columns: AxisName = "checkpoint"

    def __post_init__(self) -> None:
        """Put checkpoints in numeric order, drop repeated values and refuse what cannot be laid out."""
        for name in ("rows", "columns"):
            if getattr(self, name) not in AXES:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed {', '.join(AXES)}, choose one of them")
        if self.rows == self.columns:
            raise ValueError(f"rows and columns: got {self.rows!r} for both, allowed two different axes, change one")
        for axis in AXES:
            values = tuple(dict.fromkeys(getattr(self, axis)))
            if not values:
                raise ValueError(f"{axis}: got no value, allowed at least one, fill in the list")
            object.__setattr__(self, axis, values)
        if min(self.checkpoint) < 1:
            raise ValueError(f"checkpoint: got {min(self.checkpoint)}, allowed steps from 1, the base is always added")
        object.__setattr__(self, "checkpoint", tuple(sorted(self.checkpoint)))

    @property
    def base_axis(self) -> AxisName:
        """Return the axis on which the base without LoRA stands in front."""
        shown = (self.rows, self.columns)
        return "strength" if "strength" in shown and "checkpoint" not in shown else "checkpoint"

    def values(self, axis: AxisName) -> tuple[Any, ...]:
        """Return the values of an axis in the order shown, the base (step 0 or strength 0) in front where it stands."""
        values: tuple[Any, ...] = getattr(self, axis)
        if axis != self.base_axis:
            return values
        return (BASE, *(value for value in values if value != BASE))

    @property
    def count(self) -> int:
        """Return the number of distinct pictures, without listing them."""
        strengths = sum(value != 0 for value in self.strength)
        others = math.prod(len(getattr(self, axis)) for axis in AXES if axis not in ("checkpoint", "strength"))
        return (1 + len(self.checkpoint) * strengths) * others

    def cells(self) -> tuple[Cell, ...]:
        """Return the distinct pictures, those with the same weights together: the base, then steps in numeric order."""
        settings = product(*(self.values(axis) for axis in AXES))
        return tuple(dict.fromkeys(_cell(dict(zip(AXES, values, strict=True))) for values in settings))

    def fixed(self) -> tuple[str, ...]:
        """Return labels of the axes that are the same in every picture of the sweep."""
        return tuple(
            axis_label(axis, self.values(axis)[0])
            for axis in AXES
            if axis not in (self.rows, self.columns) and len(self.values(axis)) == 1
        )

    def layout(self) -> tuple[Page, ...]:
        """Return the pages; a page whose pictures all stand on an earlier page (the base again) is left out."""
        axes = [axis for axis in AXES if axis not in (self.rows, self.columns)]
        pages: dict[tuple[tuple[Cell, ...], ...], Page] = {}
        for values in product(*(self.values(axis) for axis in axes)):
            page = self._page(dict(zip(axes, values, strict=True)))
            pages.setdefault(page.cells, page)
        return tuple(pages.values())

    def _page(self, given: dict[AxisName, Any]) -> Page:
        rows, columns = self.values(self.rows), self.values(self.columns)
        cells = tuple(
            tuple(_cell(given | {self.rows: row, self.columns: column}) for column in columns) for row in rows
        )
        return Page(
            settings=self._page_labels(given),
            rows=tuple(axis_label(self.rows, value) for value in rows),
            columns=tuple(axis_label(self.columns, value) for value in columns),
            cells=cells,
            base_row=0 if self.rows == self.base_axis else None,
            base_column=0 if self.columns == self.base_axis else None,
        )

    def _page_labels(self, given: dict[AxisName, Any]) -> tuple[str, ...]:
        base = given.get("checkpoint") == BASE
        return tuple(
            axis_label(axis, value)
            for axis, value in given.items()
            if len(self.values(axis)) > 1 and not (base and axis == "strength")
        )

    def cell_label(self, cell: Cell) -> str:
        """Return the values that tell `cell` from the sweep's other pictures, e.g. ``step 100 · seed 3``."""
        base = cell.checkpoint == BASE
        varying = [axis for axis in AXES if len(self.values(axis)) > 1]
        labels = [BASE_LABEL] if base else []
        for axis in varying:
            if not (base and axis in ("checkpoint", "strength")):
                labels.append(axis_label(axis, getattr(cell, axis)))
        return " · ".join(labels)

    def describe(self) -> str:
        """Return the plan in a line: the number of pictures and how it comes about."""
        lengths = [words for axis in AXES if (words := self._length(axis))]
        made_of = f" = {' x '.join(lengths)}, the base once for all strengths" if lengths else ""
        return f"{self.count} pictures{made_of}"

    def _length(self, axis: AxisName) -> str:
        """Return how many values an axis has in words, the base apart; "" for a single one."""
        values = self.values(axis)
        if axis == self.base_axis:
            others = len(values) - 1
            return f"(base + {others} {axis}{'s' if others > 1 else ''})" if others else ""
        return f"{axis} {len(values)}" if len(values) > 1 else ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; `SweepPlan.from_json` reads them back."""
        axes = {axis: list(getattr(self, axis)) for axis in AXES}
        return axes | {"size": [list(size) for size in self.size], "rows": self.rows, "columns": self.columns}

    @staticmethod
    def from_json(values: dict[str, Any]) -> "SweepPlan":
        """Return the plan written by `to_json`."""
        axes = {axis: tuple(values[axis]) for axis in AXES} | {"size": tuple(tuple(size) for size in values["size"])}
        return SweepPlan(**axes, rows=values["rows"], columns=values["columns"])


def axis_label(axis: AxisName, value: Any) -> str:
    """Return how a value is written in a grid, complete: ``step 100``, ``CFG 7.5``, ``512x768``, a whole prompt."""
    match axis:
        case "checkpoint":
            return f"step {value}" if value != BASE else BASE_LABEL
        case "strength":
            return f"strength {value:g}" if value != BASE else BASE_LABEL
        case "seed":
            return f"seed {value}"
        case "steps":
            return f"{value} steps"
        case "cfg":
            return f"CFG {value:g}"
        case "size":
            return f"{value[0]}x{value[1]}"
        case "negative":
            return f"negative: {value}" if value else "no negative"
    return str(value)


def _cell(values: dict[AxisName, Any]) -> Cell:
    if BASE in (values["checkpoint"], values["strength"]):
        values = values | {"checkpoint": BASE, "strength": 0.0}
    return Cell(**values)
