"""Trigger words that go missing, move, or are spelt differently."""

import numpy as np

from ...dataset.captions import TriggerWord, mask_triggers, unmask_triggers
from ..context import Context
from ..registry import Parameter, find_operation, operation
from .words import tidied

_CHANGES = ("remove", "move to the end", "misspell", "replace", "add another")


@operation(
    "triggers",
    Parameter("change", "remove", "What happens to the trigger word", choices=_CHANGES),
    Parameter("word", "photo", "The common word that replaces the trigger, or the other one that is added"),
    subject="captions",
    wants_context=True,
)
def trigger_corruption(
    caption: str, rng: np.random.Generator, severity: float, *, context: Context, change: str, word: str
) -> str:
    """Trigger corruption: the trigger word is missing, at the end, misspelt, an everyday word, or not alone.

    Severity is how likely each caption is changed. Tags of glitches are no triggers and stay.
    """
    draw, places = rng.random(), rng.random(2)
    tags = {find_operation(name).tag for name, _ in context.damage}
    masked, masks = mask_triggers(caption, [trigger for trigger in context.triggers if trigger not in tags])
    found = {mask: trigger for mask, trigger in masks.items() if mask in masked}
    if draw >= severity or not found:
        return caption
    if change == "add another":
        return TriggerWord(word).placed_in(caption) if word.strip() else caption
    if change in ("misspell", "replace"):
        spelt = {mask: word if change == "replace" else _misspelt(text, places) for mask, text in found.items()}
        return unmask_triggers(masked, spelt) if word.strip() or change == "misspell" else _without(masked, found)
    rest = _without(masked, found)
    moved = [found[mask] for mask in sorted(found, key=masked.index)] if change == "move to the end" else []
    return ", ".join(part for part in (rest, *moved) if part)


def _without(masked: str, found: dict[str, str]) -> str:
    return tidied("".join("" if letter in found else letter for letter in masked))


def _misspelt(word: str, places: np.ndarray) -> str:
    """Return the word with two letters side by side swapped, or one doubled when that would change nothing."""
    place = int(places[0] * max(1, len(word) - 1))
    swapped = word[:place] + word[place : place + 2][::-1] + word[place + 2 :]
    doubled = word[: place + 1] + word[place:]
    return doubled if swapped == word or places[1] < 0.5 else swapped
