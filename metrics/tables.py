"""Metrics of pictures as a table to read and as JSON."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .planes import Picture
from .registry import Metric, all_metrics

EVERY, DETECTORS = "all", "detectors"


def groups() -> tuple[str, ...]:
    """Return the groups that can be measured: the detectors, all, and each topic."""
    return (DETECTORS, EVERY, *sorted({metric.group for metric in all_metrics()}))


def chosen(group: str) -> tuple[Metric, ...]:
    """Return the metrics of a group; the paired ones come along with the detectors. Raises ValueError."""
    if group not in groups():
        raise ValueError(f"metrics: got {group!r}, allowed {', '.join(groups())}, choose one of them")
    if group == DETECTORS:
        return tuple(metric for metric in all_metrics() if metric.detector or metric.kind == "paired")
    return tuple(metric for metric in all_metrics() if group in (EVERY, metric.group))


def measure_set(
    pictures: Sequence[Picture],
    references: Sequence[Picture],
    metrics: Iterable[Metric],
    check_interrupt: Callable[[], None] = lambda: None,
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Return (values of each picture, values of the set).

    references: none, one for all, or one for each picture; paired metrics need them and are left out without. Metrics
    of a set are left out for fewer than two pictures. Raises ValueError.
    """
    if not pictures:
        raise ValueError("images: got none, allowed at least one, connect images")
    if len(references) not in (0, 1, len(pictures)):
        count = len(pictures)
        raise ValueError(f"compare_with: got {len(references)}, allowed 1 or {count}, give one for all or one for each")
    others = list(references) * (len(pictures) if len(references) == 1 else 1)
    wanted = list(metrics)
    rows = []
    for index, picture in enumerate(pictures):
        check_interrupt()
        row = {one.name: one.function(picture) for one in wanted if one.kind == "single"}
        if others:
            row |= {one.name: one.function(picture, others[index]) for one in wanted if one.kind == "paired"}
        rows.append(row)
    whole = {one.name: one.function(pictures) for one in wanted if one.kind == "set"} if len(pictures) > 1 else {}
    return rows, whole


def as_table(rows: Mapping[str, Mapping[str, float | None]], corner: str = "metric") -> str:
    """Return lines of text: one metric a line, one column for each of `rows`, columns aligned with spaces.

    A name that is no metric of the catalogue stands as it is.
    """
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    head = [corner, *rows]
    body = [[_titled(name), *(figure(row.get(name)) for row in rows.values())] for name in names]
    widths = [max(len(line[column]) for line in [head, *body]) for column in range(len(head))]
    return "\n".join(
        "  ".join(text.ljust(width) if not column else text.rjust(width) for column, (text, width) in enumerate(cells))
        for cells in (list(zip(line, widths, strict=True)) for line in [head, *body])
    )


def figure(value: float | None) -> str:
    """Return a value with three digits; a dash for None."""
    if value is None:
        return "-"
    if abs(value) < 0.0005:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def described(metrics: Iterable[Metric]) -> dict[str, Any]:
    """Return what JSON readers have to know of metrics: title, unit, kind and summary of each."""
    return {
        one.name: {"title": one.title, "unit": one.unit, "kind": one.kind, "summary": one.summary} for one in metrics
    }


def _titled(name: str) -> str:
    metric = {one.name: one for one in all_metrics()}.get(name)
    if metric is None:
        return name
    return f"{metric.title} ({metric.unit})" if metric.unit else metric.title
