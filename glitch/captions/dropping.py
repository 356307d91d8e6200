"""Captions that say less, or too much: dropped, thinned out, cut short, stretched."""

import numpy as np

from ...dataset.captions import unmask_triggers
from ..context import Context
from ..registry import Parameter, operation
from .words import WORD, chosen, holds_mask, mask_triggers, parts_of


@operation(
    "less text",
    Parameter("probability", 1.0, "How likely a caption is dropped", 0.0, 1.0, 0.05),
    Parameter("keep_triggers", True, "Leave the trigger words; off leaves an empty caption"),
    subject="captions",
    wants_context=True,
)
def caption_dropout(
    caption: str,
    rng: np.random.Generator,
    severity: float,
    *,
    context: Context,
    probability: float,
    keep_triggers: bool,
) -> str:
    """Caption dropout: some pictures lose their caption, so that what they teach needs no words.

    Drawn once for a picture, or once for each variant; the recipe's caption_dropout draws anew in every step.
    Severity scales the probability.
    """
    if rng.random() >= severity * probability:
        return caption
    return ", ".join(trigger for trigger in dict.fromkeys(context.triggers) if trigger in caption and keep_triggers)


@operation(
    "less text",
    Parameter("probability", 0.5, "How likely each part is dropped", 0.0, 1.0, 0.05),
    Parameter("keep_first", 1, "So many parts at the start always stay", 0, 100),
    subject="captions",
    wants_context=True,
)
def tag_dropout(
    caption: str, rng: np.random.Generator, severity: float, *, context: Context, probability: float, keep_first: int
) -> str:
    """Tag dropout: parts between commas, or sentences, are left out one by one; parts with a trigger stay.

    Severity scales the probability.
    """
    parts, joint, masks = parts_of(caption, context.triggers)
    goes = chosen(rng, len(parts), severity * probability)
    stays = [number < keep_first or not goes[number] or holds_mask(part, masks) for number, part in enumerate(parts)]
    if all(stays):
        return caption
    return unmask_triggers(joint.join(part for part, stay in zip(parts, stays, strict=True) if stay), masks)


@operation(
    "less text",
    Parameter("change", "cut", "cut: the end is lost. repeat: it is said again and again", choices=("cut", "repeat")),
    Parameter("keep_words", 4, "Words that are left when cut", 0, 1000),
    Parameter("fill_words", 150, "Words to reach by repeating; CLIP reads 75 tokens at a time", 1, 2000),
    subject="captions",
    draws=False,
    wants_context=True,
)
def caption_length(
    caption: str,
    rng: np.random.Generator,
    severity: float,
    *,
    context: Context,
    change: str,
    keep_words: int,
    fill_words: int,
) -> str:
    """Caption length: cut after a few words (triggers stay), or repeated past the text encoder's window.

    Severity moves the number of words from the caption's own to the setting.
    """
    length = len(WORD.findall(mask_triggers(caption, context.triggers)[0]))
    goal = min(length, keep_words) if change == "cut" else max(length, fill_words)
    words = round(length + severity * (goal - length))
    return _cut(caption, context.triggers, words) if change == "cut" else _repeated(caption, length, words)


def _cut(caption: str, triggers: tuple[str, ...], words: int) -> str:
    masked, masks = mask_triggers(caption, triggers)
    ends = [match.end() for match in WORD.finditer(masked)]
    if words >= len(ends):
        return caption
    end = ends[words - 1] if words else 0
    kept = masked[:end].strip(" ,") if words else ""
    lost = [mask for mask in masks if mask in masked[end:] and mask not in kept]
    return unmask_triggers(", ".join([*([kept] if kept else []), *sorted(lost, key=masked.index)]), masks)


def _repeated(caption: str, length: int, words: int) -> str:
    """Return the caption said again until it has so many words, the last time perhaps only its beginning."""
    if not length or words <= length:
        return caption
    whole, rest = divmod(words, length)
    joint = ", " if "," in caption else " "
    return joint.join([caption] * whole + ([_cut(caption, (), rest)] if rest else []))
