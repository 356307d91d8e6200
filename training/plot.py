"""Curves of one or more runs as a picture: loss, learning rate and gradient norm over the steps.

Raw values are thin and pale, their exponential moving average is bold; several runs share the axes. Parts of a run
that learn at rates of their own have curves of their own, and a dashed line where one of them stops or joins. Drawn
with Pillow at twice the size and scaled down, so that lines are smooth without another library.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from .plot_parts import rates_need_a_logarithm, split_parts, turning_points
from .ticks import Scale, scale_for

# Okabe and Ito's palette (2008), told apart by people with any colour vision; yellow is too pale on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
INK, GRID, PAPER, FADED = "#222222", "#dddddd", "#ffffff", "#777777"
OVERSAMPLING = 2
LARGEST = 1e100
SMALLEST_RATE = 1e-4  # of the highest: smaller rates lie on the bottom of a logarithmic axis

TypeFace = Callable[[str, int], Any]
"""(text, size in pixels) -> a Pillow font that has the letters of the text."""


@dataclass(frozen=True)
class PlotSettings:
    """width, height: pixels of the picture. smoothing: weight of the past in the moving average, 0 (none) to 0.999.

    log_x, log_y: logarithmic axes; y is the loss's and the gradient norm's axis. loss_max: upper end of the loss axis,
    so that two plots compare; 0 finds it. x_title: what the lines' "step" is; whole_x: it is a whole number.
    log_parts: logarithmic axes of learning rate and gradient norm, for parts that are far apart. marks: (step, text) of
    dashed lines across the panels.
    """

    width: int = 1200
    height: int = 900
    smoothing: float = 0.9
    log_x: bool = False
    log_y: bool = False
    loss_max: float = 0.0
    x_title: str = "step"
    whole_x: bool = True
    log_parts: bool = False
    marks: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Panel:
    """One pair of axes. key: in metrics.jsonl. share: part of the height. smoothed: draw a moving average."""

    key: str
    title: str
    share: float
    smoothed: bool


PANELS = (
    Panel("loss", "loss", 0.5, True),
    Panel("learning_rate", "learning rate", 0.25, False),
    Panel("grad_norm", "gradient norm", 0.25, True),
)


def default_typeface(text: str, size: int) -> Any:
    """Return Pillow's own font, which knows little more than ASCII."""
    return ImageFont.load_default(size)


def moving_average(values: Sequence[float], smoothing: float) -> list[float]:
    """Return the exponential moving average with its start corrected (Adam's bias correction), same length.

    average_t = (s * a_{t-1} + (1 - s) * x_t) / (1 - s^t), so that the first value is the first average.
    """
    averages, running = [], 0.0
    for count, value in enumerate(values, start=1):
        running = smoothing * running + (1.0 - smoothing) * value
        averages.append(running / (1.0 - smoothing**count))
    return averages


def plot_metrics(
    runs: Sequence[tuple[str, Sequence[dict[str, Any]]]],
    settings: PlotSettings = PlotSettings(),
    typeface: TypeFace = default_typeface,
) -> Image.Image:
    """Return an RGB picture of the runs' metrics (`Run.metrics`), each with its name in the legend.

    Quantities that no run recorded get no panel. Raises ValueError when there is nothing to draw at all.
    """
    parts = [(name, part) for name, lines in runs for part in split_parts(_legend_text(name, lines), lines)]
    curves = [(name, lines) for name, (_, lines) in parts]
    marks = tuple(mark for _, lines in runs for mark in turning_points(lines).items())
    settings = replace(settings, marks=marks, log_parts=rates_need_a_logarithm(runs))
    return plot_panels(curves, [text for _, (text, _) in parts], PANELS, settings, typeface)


def plot_panels(
    runs: Sequence[tuple[str, Sequence[dict[str, Any]]]],
    legend: Sequence[str],
    wanted: Sequence[Panel],
    settings: PlotSettings,
    typeface: TypeFace = default_typeface,
) -> Image.Image:
    """Return an RGB picture of any quantities of lines that each have a "step"; one curve and legend text per run.

    Quantities that no line has get no panel. Raises ValueError when there is nothing to draw at all.
    """
    panels = [panel for panel in wanted if any(_points(lines, panel.key, settings) for _, lines in runs)]
    if not panels:
        names = [name for name, _ in runs]
        raise ValueError(f"run: got {names} without a recorded step, allowed runs with one or more, train first")
    canvas = _Canvas(settings, typeface)
    top = canvas.legend(legend)
    for panel, (upper, lower) in zip(panels, _rows(panels, top, settings.height, canvas.unit), strict=True):
        canvas.panel(panel, runs, upper, lower)
    return canvas.finished()


def _legend_text(name: str, lines: Sequence[dict[str, Any]]) -> str:
    losses = [line["loss"] for line in lines if isinstance(line.get("loss"), int | float)]
    if not losses:
        return f"{name} (nothing recorded)"
    return f"{name}, step {lines[-1]['step']}, last loss {losses[-1]:.4g}"


def _points(lines: Sequence[dict[str, Any]], key: str, settings: PlotSettings) -> list[tuple[float, float]]:
    """Return the (step, value) pairs that can be drawn: finite, and above zero on a logarithmic axis.

    Past 1e100 and below 1e-100 the axes would overflow: larger values are left out, smaller ones are zero.
    """
    found = [(line["step"], line.get(key)) for line in lines]
    numbers = [(x, y) for x, y in found if isinstance(y, int | float) and abs(y) < LARGEST]
    drawable = [(x, y if abs(y) > 1 / LARGEST else 0.0) for x, y in numbers]
    return [(x, y) for x, y in drawable if (x > 0 or not settings.log_x) and (y > 0 or not _log(key, settings))]


def _log(key: str, settings: PlotSettings) -> bool:
    if key == "learning_rate":
        return settings.log_parts
    return settings.log_y or (settings.log_parts and key == "grad_norm")


def _rows(panels: Sequence[Panel], top: int, height: int, unit: int) -> Iterator[tuple[int, int]]:
    """Yield the (upper, lower) edge of each panel's axes; below each is room for tick labels, above for the title."""
    whole = sum(panel.share for panel in panels)
    free = height - top - unit * 2
    edge = float(top)
    for panel in panels:
        share = free * panel.share / whole
        yield round(edge + unit * 2.2), round(edge + share - unit * 1.6)
        edge += share


class _Canvas:
    """The picture in the making. Coordinates are in pixels of the finished picture."""

    def __init__(self, settings: PlotSettings, typeface: TypeFace) -> None:
        self.settings, self.typeface = settings, typeface
        self.unit = max(11, round(min(settings.width, settings.height) / 48))  # text size
        self.left, self.right = self.unit * 6, settings.width - self.unit * 2
        size = settings.width * OVERSAMPLING, settings.height * OVERSAMPLING
        self.image = Image.new("RGB", size, PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def finished(self) -> Image.Image:
        """Return the picture at its own size."""
        return self.image.resize((self.settings.width, self.settings.height), Image.Resampling.LANCZOS)

    def text(self, place: tuple[float, float], text: str, anchor: str, fill: str = INK, halo: bool = False) -> None:
        """Write a line; anchor as Pillow's, e.g. "rm": right end, middle height. halo: white around each letter."""
        font = self.typeface(text, self.unit * OVERSAMPLING)
        around = 4 * OVERSAMPLING if halo else 0
        self.draw.text(
            self._scaled(place), text, font=font, anchor=anchor, fill=fill, stroke_width=around, stroke_fill=PAPER
        )

    def line(self, points: Sequence[tuple[float, float]], fill: str, width: float) -> None:
        """Draw a polyline; a single point becomes a dot."""
        thickness = max(1, round(width * OVERSAMPLING))
        scaled = [self._scaled(point) for point in points]
        if len(scaled) == 1:
            (x, y), radius = scaled[0], thickness * 2
            self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
        else:
            self.draw.line(scaled, fill=fill, width=thickness, joint="curve")

    def legend(self, names: Sequence[str]) -> int:
        """Write one line per run, cut to the width; returns where the panels may begin."""
        top = self.unit
        for number, name in enumerate(names):
            middle = top + self.unit * (0.7 + 1.5 * number)
            colour = COLOURS[number % len(COLOURS)]
            self.line([(self.left, middle), (self.left + self.unit * 2, middle)], colour, 3)
            self.text((self.left + self.unit * 2.6, middle), self._cut(name), "lm")
        return round(top + self.unit * 1.5 * len(names))

    def panel(self, panel: Panel, runs: Sequence[tuple[str, Sequence[dict[str, Any]]]], upper: int, lower: int) -> None:
        """Draw one pair of axes with the curves of every run that recorded the quantity."""
        points = [_points(lines, panel.key, self.settings) for _, lines in runs]
        steps = [point[0] for run in points for point in run]
        x = scale_for(steps, self.settings.log_x, self.left, self.right, whole=self.settings.whole_x)
        values = [point[1] for run in points for point in run]
        fixed = self.settings.loss_max if panel.key == "loss" else 0.0
        logarithmic = _log(panel.key, self.settings)
        if logarithmic and not panel.smoothed:  # a schedule down to zero would take the whole axis
            values = [value for value in values if value > max(values) * SMALLEST_RATE]
        y = scale_for(values, logarithmic, lower, upper, highest=fixed)
        self._axes(panel, x, y, upper, lower)
        self._marks(x, upper, lower)
        curves = [(COLOURS[number % len(COLOURS)], run) for number, run in enumerate(points) if run]
        averaged = panel.smoothed and self.settings.smoothing > 0
        for colour, run in curves:
            self._curve(run, _paler(colour) if averaged else colour, 1 if averaged else 1.5, x, y)
        for colour, run in curves if averaged else ():  # over all raw values, which would hide them
            averages = moving_average([value for _, value in run], self.settings.smoothing)
            steps = [step for step, _ in run]
            self._curve(list(zip(steps, averages, strict=True)), colour, 2.5, x, y)
        if panel.key == PANELS[0].key:
            self._explain_marks(x, upper)
        self._frame(upper, lower)

    def _axes(self, panel: Panel, x: Scale, y: Scale, upper: int, lower: int) -> None:
        title = panel.title
        if panel.smoothed and self.settings.smoothing:
            title += f"  (bold: moving average, {self.settings.smoothing:g})"
        self.text((self.left, upper - self.unit * 0.5), title, "ls")
        self.text((self.right, upper - self.unit * 0.5), self.settings.x_title, "rs", FADED)
        for value, label in y.ticks():
            height = y.place(value)
            self.line([(self.left, height), (self.right, height)], GRID, 1)
            self.text((self.left - self.unit * 0.5, height), label, "rm")
        for value, label in x.ticks():
            across = x.place(value)
            self.line([(across, upper), (across, lower)], GRID, 1)
            self.text((across, lower + self.unit * 0.4), label, "mt")

    def _marks(self, x: Scale, upper: int, lower: int) -> None:
        dash = self.unit * 0.4
        for step, _ in self.settings.marks:
            for top in range(upper, lower, round(dash * 2)):
                self.line([(x.place(step), top), (x.place(step), min(top + dash, lower))], FADED, 1)

    def _explain_marks(self, x: Scale, upper: int) -> None:
        """Write what the dashed lines are beside them, each a line of text lower than the one before."""
        gap = self.unit * 0.5
        for number, (step, text) in enumerate(sorted(self.settings.marks)):
            height, across = upper + self.unit * (1.0 + 1.4 * (number % 4)), x.place(step)
            leftwards = across > (self.left + self.right) / 2
            place = (across - gap if leftwards else across + gap, height)
            self.text(place, text, "rm" if leftwards else "lm", halo=True)

    def _curve(self, points: Sequence[tuple[float, float]], colour: str, width: float, x: Scale, y: Scale) -> None:
        self.line([(x.place(step), y.place(value)) for step, value in points], colour, width)

    def _frame(self, upper: int, lower: int) -> None:
        corners = [(self.left, upper), (self.right, upper), (self.right, lower), (self.left, lower), (self.left, upper)]
        self.line(corners, INK, 1)

    def _cut(self, text: str) -> str:
        room = (self.right - self.left - self.unit * 3) * OVERSAMPLING
        font = self.typeface(text, self.unit * OVERSAMPLING)
        if font.getlength(text) <= room:
            return text
        while text and font.getlength(text + "...") > room:
            text = text[:-1]
        return text + "..."

    def _scaled(self, point: tuple[float, float]) -> tuple[float, float]:
        return point[0] * OVERSAMPLING, point[1] * OVERSAMPLING


def _paler(colour: str) -> str:
    """Return a colour two thirds of the way to white."""
    parts = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(255 - (255 - part) * 0.35):02x}" for part in parts)
