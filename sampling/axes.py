"""The short texts a user types for an axis, read into values. Every refusal says what, got, allowed and what to do."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

MAX_SEED = 2**64 - 1
MAX_VALUES = 10_000
MAX_SIDE = 16_384

Value = TypeVar("Value")


def parse_checkpoints(text: str, available: Sequence[int]) -> tuple[int, ...]:
    """Return the chosen steps of `available`, each once, in numeric order.

    ``all`` (or nothing) takes each checkpoint; ``every 2`` each second one, counted back from the last, which is
    therefore always there; otherwise a list of step numbers, ``first`` and ``last``, such as ``100, 200, last``.
    Raises ValueError for anything else, and when there is no checkpoint.
    """
    steps = tuple(sorted(set(available)))
    if not steps:
        raise ValueError("checkpoints: got a run without a checkpoint, allowed a run with at least one, train it first")
    every = re.fullmatch(r"every\s+(\d+)", text.strip().lower())
    if every and int(every.group(1)) > 0:
        return steps[::-1][:: int(every.group(1))][::-1]
    if text.strip().lower() in ("", "all"):
        return steps
    return tuple(sorted({_checkpoint(word, steps) for word in _words(text)}))


def _checkpoint(word: str, steps: Sequence[int]) -> int:
    named = {"first": steps[0], "last": steps[-1]}
    if word.lower() in named:
        return named[word.lower()]
    if word.isascii() and word.isdigit() and int(word) in steps:
        return int(word)
    raise ValueError(
        f"checkpoints: got {word!r}, allowed all, every N, first, last or the steps {_some(steps)}, "
        "write a list such as '100, 200, last'"
    )


def parse_integers(name: str, text: str, low: int, high: int) -> tuple[int, ...]:
    """Return the whole numbers of a list such as ``1, 2, 10-14``, each once, in the order written.

    A range includes both ends. Raises ValueError for another word or a number outside `low` to `high`.
    """
    allowed = f"whole numbers from {low} to {high} such as '1, 2, 10-14'"

    def numbers(word: str) -> Iterable[int]:
        match = re.fullmatch(r"(\d{1,20})(?:\s*-\s*(\d{1,20}))?", word, re.ASCII)
        first = int(match.group(1)) if match else low - 1
        last = int(match.group(2)) if match and match.group(2) else first
        if not low <= first <= last <= high or last - first >= MAX_VALUES:
            raise _refusal(name, word, allowed)
        return range(first, last + 1)

    return _unique(name, allowed, (value for word in _words(text) for value in numbers(word)))


def parse_numbers(name: str, text: str, low: float, high: float) -> tuple[float, ...]:
    """Return the numbers of a list such as ``0.5, 1``, each once, in the order written.

    Raises ValueError for another word or a number outside `low` to `high`.
    """
    allowed = f"numbers from {low:g} to {high:g} such as '0.5, 1'"

    def number(word: str) -> float:
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise _refusal(name, word, allowed)
        return value + 0.0  # -0.0 becomes 0.0

    return _unique(name, allowed, map(number, _words(text)))


def parse_sizes(name: str, text: str) -> tuple[tuple[int, int], ...]:
    """Return (width, height) pairs of a list such as ``512x512, 768x512``, each once, in the order written.

    Raises ValueError unless both sides are multiples of 8 from 16 to 16384 pixels, as Empty Latent Image wants.
    """
    allowed = f"WIDTHxHEIGHT with sides from 16 to {MAX_SIDE} in steps of 8, such as '512x512, 768x512'"

    def size(word: str) -> tuple[int, int]:
        match = re.fullmatch(r"(\d{1,6})\s*[xX*\u00d7]\s*(\d{1,6})", word, re.ASCII)
        sides = (int(match.group(1)), int(match.group(2))) if match else (0, 0)
        if any(not 16 <= side <= MAX_SIDE or side % 8 for side in sides):
            raise _refusal(name, word, allowed)
        return sides

    return _unique(name, allowed, map(size, _words(text)))


def parse_names(name: str, text: str, choices: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a list such as ``euler, ddim``, each once, in the order written.

    Raises ValueError for a name that is not one of `choices`.
    """
    allowed = f"one of {_some(choices)}"

    def known(word: str) -> str:
        if word not in choices:
            raise _refusal(name, word, allowed)
        return word

    return _unique(name, allowed, map(known, _words(text)))


def parse_prompts(text: str) -> tuple[str, ...]:
    """Return the prompts of a text, one a line, blank lines left out, each once."""
    return tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


def _words(text: str) -> list[str]:
    return [word.strip() for word in re.split(r"[,;\n]", text) if word.strip()]


def _unique(name: str, allowed: str, values: Iterable[Value]) -> tuple[Value, ...]:
    found = tuple(dict.fromkeys(values))
    if not found:
        raise _refusal(name, "nothing", allowed)
    if len(found) > MAX_VALUES:
        raise _refusal(name, f"{len(found)} values", f"at most {MAX_VALUES}")
    return found


def _refusal(name: str, got: str, allowed: str) -> ValueError:
    return ValueError(f"{name}: got {got!r}, allowed {allowed}, correct the list")


def _some(values: Sequence[object], shown: int = 60) -> str:
    more = f" and {len(values) - shown} more" if len(values) > shown else ""
    return ", ".join(map(str, values[:shown])) + more
