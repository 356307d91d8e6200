"""Runs with several parts, such as a LoRA and a word, as curves of their own; and where parts begin and stop."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

Lines: TypeAlias = Sequence[dict[str, Any]]

NETWORK = "network"
_WORD = "embedding."
_RECORDED = ("learning_rate", "grad_norm")


def part_names(lines: Lines) -> list[str]:
    """Return the parts that a run's metrics tell of: the diffusion model's LoRA first, then as they first learnt."""
    return sorted(dict.fromkeys(name for line in lines for name in _parts(line)), key=lambda name: name != NETWORK)


def part_title(name: str) -> str:
    """Return a part's name for people, such as "word prtkl" for "embedding.prtkl"."""
    if name == NETWORK:
        return "LoRA"
    return f"word {name.removeprefix(_WORD)}" if name.startswith(_WORD) else f"text encoder {name}"


def split_parts(name: str, lines: Lines) -> list[tuple[str, Lines]]:
    """Return a run as (name, lines) for each of its curves: the run with its first part, then each further part.

    A part's lines have its own learning rate and gradient norm, and no loss. A run that tells of no parts stays whole.
    """
    names = part_names(lines)
    if not names:
        return [(name, lines)]
    first = [{**line, **dict.fromkeys(_RECORDED), **_parts(line).get(names[0], {})} for line in lines]
    whole = (f"{name}, {part_title(names[0])}", first)
    return [whole, *((part_title(part), _own(part, lines)) for part in names[1:])]


def turning_points(lines: Lines) -> dict[int, str]:
    """Return, by step, which parts stop after it while the training goes on, and which join with it."""
    told: dict[int, list[str]] = {}
    for part in part_names(lines):
        steps = [line["step"] for line in lines if part in _parts(line)]
        if steps[0] > lines[0]["step"]:
            told.setdefault(steps[0], []).append(f"{part_title(part)} joins")
        if steps[-1] < lines[-1]["step"]:
            told.setdefault(steps[-1], []).append(f"{part_title(part)} frozen")
    return {step: ", ".join(texts) for step, texts in told.items()}


def rates_need_a_logarithm(runs: Iterable[tuple[str, Lines]]) -> bool:
    """Say whether parts learn at rates so far apart that the slower would lie on the bottom of a linear axis."""
    peaks = [peak for _, lines in runs for peak in _peaks(lines)]
    return len(peaks) > 1 and max(peaks) > 5 * min(peaks)


def _peaks(lines: Lines) -> Iterator[float]:
    for part in part_names(lines):
        rates = [line["learning_rate"] for line in _own(part, lines)]
        numbers = [rate for rate in rates if isinstance(rate, int | float) and rate > 0]
        if numbers:
            yield max(numbers)


def _own(part: str, lines: Lines) -> Lines:
    return [
        {"step": line["step"], **{key: _parts(line)[part].get(key) for key in _RECORDED}}
        for line in lines
        if part in _parts(line)
    ]


def _parts(line: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return line.get("parts") or {}
