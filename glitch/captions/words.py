"""What caption operations share: words, tidying, and leaving the trigger words alone."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from ...dataset.captions import TriggerWord, caption_parts, contains_word, mask_triggers, unmask_triggers
from .articles import with_articles_mended

# A word may hold an apostrophe or a hyphen; the private letters of masked triggers are no part of any word.
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SPACES = re.compile(r"[ \t]{2,}")
_BEFORE_MARK = re.compile(r"\s+([,.;:!?])")
_EMPTY_PARTS = re.compile(r",(?:\s*,)+")
_COMMA_STOP = re.compile(r",+([.;:!?])")


def change_words(
    caption: str, triggers: Sequence[str], change: Callable[[int, str], str], mend_articles: bool = False
) -> str:
    """Return the caption with each word as ``change(number, word)`` gives it; triggers are never asked about.

    An empty answer takes the word out, and the spaces and commas it leaves behind. Where nothing changes the caption
    comes back exactly as it was. mend_articles: "a" and "an" follow the word that comes after them.
    """
    masked, masks = mask_triggers(caption, triggers)
    found = list(WORD.finditer(masked))
    words = [change(number, match.group()) for number, match in enumerate(found)]
    if mend_articles:
        words = with_articles_mended(masked, found, words)
    in_order = iter(words)
    changed = WORD.sub(lambda match: next(in_order), masked)
    return caption if changed == masked else unmask_triggers(tidied(changed), masks)


def count_words(caption: str, triggers: Sequence[str]) -> int:
    """Return how many words `change_words` would ask about."""
    return len(WORD.findall(mask_triggers(caption, triggers)[0]))


def tidied(text: str) -> str:
    """Return the text without the gaps that removed words leave: double spaces, empty parts, spaces before marks."""
    text = _BEFORE_MARK.sub(r"\1", _SPACES.sub(" ", text))
    return _COMMA_STOP.sub(r"\1", _EMPTY_PARTS.sub(",", text)).strip(" \t,")


def parts_of(caption: str, triggers: Sequence[str]) -> tuple[list[str], str, dict[str, str]]:
    """Return the caption's parts with triggers masked, the text that joins them, and the masks."""
    masked, masks = mask_triggers(caption, triggers)
    return *caption_parts(masked), masks


def holds_mask(text: str, masks: dict[str, str]) -> bool:
    """Say whether a masked trigger is in the text."""
    return any(mask in text for mask in masks)


def with_triggers(caption: str, triggers: Sequence[str]) -> str:
    """Return the caption with those of its item's triggers in front that it lacks, in their order."""
    for trigger in reversed([word for word in triggers if word]):
        caption = caption if contains_word(caption, trigger) or trigger in caption else _led_by(trigger, caption)
    return caption


def chosen(rng: np.random.Generator, count: int, share: float) -> np.ndarray:
    """Return `count` booleans, each True with probability `share`.

    A larger share chooses all that a smaller one does.
    """
    return rng.random(count) < share


def _led_by(word: str, caption: str) -> str:
    return TriggerWord(word).placed_in(caption)
