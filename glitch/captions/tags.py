"""Captions that name the damage: the glitch becomes a word to ask for, or to forbid."""

import numpy as np

from ...dataset.captions import contains_word
from ..context import Context
from ..registry import Parameter, find_operation, operation


@operation(
    "naming",
    Parameter("position", "suffix", "Where the words are put", choices=("suffix", "prefix")),
    Parameter("severity_words", False, "Say how bad it is: light, medium or heavy, in front of the tag"),
    Parameter("clean_word", "", "What undamaged pictures are called, e.g. clean; empty leaves their captions alone"),
    subject="captions",
    wants_context=True,
)
def glitch_tags(
    caption: str,
    rng: np.random.Generator,
    severity: float,
    *,
    context: Context,
    position: str,
    severity_words: bool,
    clean_word: str,
) -> str:
    """Glitch tags: the caption says what its picture went through, such as glx_jpeg, and only what it really did.

    Severity is how likely a caption is tagged; leave it at 1 for tags that can be trusted.
    """
    if rng.random() >= severity:
        return caption
    words = _tags(context.damage, severity_words) or {clean_word.strip(): clean_word.strip()}
    new = [text for tag, text in words.items() if tag and not contains_word(caption, tag)]
    parts = [caption, *new] if position == "suffix" else [*new, caption]
    return ", ".join(part for part in parts if part.strip()) if new else caption


def _tags(damage: tuple[tuple[str, float], ...], severity_words: bool) -> dict[str, str]:
    """Return each tag and the text that stands for it, in order of damage; of the same tag the worst counts."""
    worst: dict[str, float] = {}
    for name, severity in damage:
        tag = find_operation(name).tag
        worst[tag] = max(severity, worst.get(tag, 0.0))
    return {tag: f"{_word(severity)} {tag}" if severity_words else tag for tag, severity in worst.items()}


def _word(severity: float) -> str:
    return "light" if severity < 1 / 3 else "medium" if severity < 2 / 3 else "heavy"
