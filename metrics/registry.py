"""The catalogue of metrics: one function each, known by its name everywhere (menu, table, JSON)."""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .planes import Picture, checked

# single: of one picture; paired: of a picture and the one it is compared with; set: of two pictures or more.
Kind = Literal["single", "paired", "set"]
Measure = Callable[..., float]


@dataclass(frozen=True)
class Metric:
    """A measure.

    name: of its function, and its key in JSON. title: for people. unit: "" for a plain number. kind: what it measures.
    detector: it answers to one kind of damage and to little else. smallest: a picture whose shorter side is below it
    gives 0. group: the module it is in, for menus.
    """

    name: str
    title: str
    unit: str
    kind: Kind
    summary: str
    detector: bool
    smallest: int
    group: str
    function: Measure


METRICS: dict[str, Metric] = {}


def metric(
    title: str, unit: str = "", kind: Kind = "single", *, detector: bool = False, smallest: int = 1
) -> Callable[[Callable[..., float]], Measure]:
    """Enter the decorated function into `METRICS` under its own name; its docstring's first line is the summary.

    Pictures are uint8 arrays [H, W, 3]; the function gets them checked and no smaller than `smallest`, and returns
    a number, which has to be finite.
    """

    def enter(function: Callable[..., float]) -> Measure:
        measure = _guarded(function, kind, smallest)
        name, group = function.__name__, function.__module__.rpartition(".")[2]
        summary = (function.__doc__ or "").strip().splitlines()[0]
        METRICS[name] = Metric(name, title, unit, kind, summary, detector, smallest, group, measure)
        return measure

    return enter


def _guarded(function: Callable[..., float], kind: Kind, smallest: int) -> Measure:
    """Return the function with its arguments checked; pictures too small to measure give 0."""

    @functools.wraps(function)
    def measure(*arguments: Any) -> float:
        if kind == "set":
            return float(function([checked(picture) for picture in arguments[0]]))
        pictures = [checked(picture) for picture in arguments]
        if kind == "paired" and pictures[0].shape != pictures[1].shape:
            sizes = [f"{picture.shape[1]}x{picture.shape[0]}" for picture in pictures]
            raise ValueError(f"pictures: got {sizes[0]} and {sizes[1]}, allowed is one size, resize one of them")
        return float(function(*pictures)) if min(pictures[0].shape[:2]) >= smallest else 0.0

    return measure


def find_metric(name: str) -> Metric:
    """Return the metric called `name`. Raises ValueError with the names there are."""
    _load()
    if name not in METRICS:
        raise ValueError(f"metric: got {name!r}, allowed {sorted(METRICS)}, choose one of them")
    return METRICS[name]


def all_metrics(kind: Kind | None = None) -> tuple[Metric, ...]:
    """Return every metric, or every one of a kind, group by group."""
    _load()
    found = [metric for metric in METRICS.values() if kind in (None, metric.kind)]
    return tuple(sorted(found, key=lambda metric: (metric.kind, metric.group, metric.name)))


def measure(picture: Picture, names: Iterable[str] | None = None) -> dict[str, float]:
    """Return single-picture metrics of a uint8 picture [H, W, 3], all of them or those named. Raises ValueError."""
    return {metric.name: metric.function(picture) for metric in _chosen(names, "single")}


def compare(picture: Picture, reference: Picture, names: Iterable[str] | None = None) -> dict[str, float]:
    """Return paired metrics of a picture and one of its size it is compared with. Raises ValueError."""
    return {metric.name: metric.function(picture, reference) for metric in _chosen(names, "paired")}


def _chosen(names: Iterable[str] | None, kind: Kind) -> list[Metric]:
    if names is None:
        return list(all_metrics(kind))
    chosen = [find_metric(name) for name in names]
    wrong = [metric.name for metric in chosen if metric.kind != kind]
    if wrong:
        raise ValueError(f"metric: got {wrong}, allowed are {kind} metrics, leave them out")
    return chosen


@functools.cache
def _load() -> None:
    """Import every module of this package: each enters its metrics."""
    package = __package__ or ""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f".{module.name}", package)


def to_array(picture: Any) -> Picture:
    """Return a Pillow picture of any mode as uint8 [H, W, 3]."""
    return np.asarray(picture.convert("RGB"))
