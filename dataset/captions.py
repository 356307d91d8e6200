"""Captions: the trigger word, and dropping parts of a caption."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from .sample import Sample

TriggerPosition = Literal["prefix", "suffix", "replace placeholder"]

_FIRST_MASK = 0xE000  # from here on: private letters that no caption has
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True)
class TriggerWord:
    """A step that puts the trigger word into every caption.

    word: one word or a short phrase. position: where; "replace placeholder" swaps every `placeholder`, and a
    caption without one gets the word in front. separator: between word and caption. A caption that already has the
    word (as a whole word) in the asked place is left alone.
    """

    word: str
    position: TriggerPosition = "prefix"
    separator: str = ", "
    placeholder: str = "[trigger]"

    name: ClassVar[str] = "trigger_word"
    seed: ClassVar[int] = 0
    touches: ClassVar[Literal["caption"]] = "caption"
    kind: ClassVar[Literal["caption"]] = "caption"
    varies: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.word.strip():
            raise ValueError("trigger word: got an empty text, allowed is one word or more, type one")
        if self.position not in get_args(TriggerPosition):
            allowed = list(get_args(TriggerPosition))
            raise ValueError(f"position: got {self.position!r}, allowed {allowed}, choose one of them")
        if self.position == "replace placeholder" and not self.placeholder:
            raise ValueError("placeholder: got an empty text, allowed is any text, type e.g. [trigger]")

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with the word in its caption and among its triggers."""
        return sample.with_caption(self.placed_in(sample.caption), triggers=(*sample.triggers, self.word))

    def placed_in(self, caption: str) -> str:
        """Return `caption` with the word in the asked place."""
        if self.position == "replace placeholder" and self.placeholder in caption:
            return caption.replace(self.placeholder, self.word)
        if not caption.strip():
            return self.word
        if self.position == "suffix":
            return caption if _ends_with(caption, self.word) else f"{caption}{self.separator}{self.word}"
        return caption if _starts_with(caption, self.word) else f"{self.word}{self.separator}{caption}"

    def describe(self) -> dict[str, Any]:
        """Return the step as JSON."""
        return {
            "name": self.name,
            "word": self.word,
            "position": self.position,
            "separator": self.separator,
            "placeholder": self.placeholder,
        }


def contains_word(caption: str, word: str) -> bool:
    """Say whether `word` stands in `caption` as a whole word (``cat`` is not in ``category``), case counted."""
    return bool(word) and re.search(_whole(word), caption) is not None


def without_word(caption: str, word: str) -> str:
    """Return `caption` with every whole `word` removed, and the comma or space it leaves behind."""
    if not contains_word(caption, word):
        return caption
    parts = [re.sub(r"\s{2,}", " ", re.sub(_whole(word), "", part)).strip() for part in caption.split(",")]
    return ", ".join(part for part in parts if part)


def caption_parts(caption: str) -> tuple[list[str], str]:
    """Return the caption's parts and the text that joins them: comma-separated parts, or sentences without commas."""
    if "," in caption:
        return [part.strip() for part in caption.split(",") if part.strip()], ", "
    return [part for part in _SENTENCE_END.split(caption.strip()) if part], " "


def drop_parts(caption: str, triggers: Sequence[str], probability: float, rng: np.random.Generator) -> str:
    """Return the caption with each part dropped with `probability` (0..1), in the old order.

    Parts are what stands between commas, or sentences when there is no comma. A part with one of `triggers` stays, also
    when the trigger itself holds a comma. With probability 0 the caption comes back unchanged.
    """
    if probability <= 0:
        return caption
    masked, masks = mask_triggers(caption, triggers)
    parts, joint = caption_parts(masked)
    draws = rng.random(len(parts))  # one draw per part, kept ones too: the trigger does not shift the others
    stays = [
        draw >= probability or any(mask in part for mask in masks) for part, draw in zip(parts, draws, strict=True)
    ]
    kept = joint.join(part for part, stay in zip(parts, stays, strict=True) if stay)
    return unmask_triggers(kept, masks)


def mask_triggers(caption: str, triggers: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return the caption with each trigger as one private letter, and the trigger that each letter stands for.

    A letter stands for the trigger's whole words, or for any place if it is only part of words.
    """
    # Longest first: a trigger may lie in another one.
    masks = {chr(_FIRST_MASK + number): word for number, word in enumerate(sorted(set(triggers), key=_shorter_later))}
    for mask, trigger in masks.items():
        if trigger:
            pattern = _whole(trigger) if contains_word(caption, trigger) else re.escape(trigger)
            caption = re.sub(pattern, mask, caption)
    return caption, masks


def unmask_triggers(masked: str, masks: dict[str, str]) -> str:
    """Return the text with the triggers back in the places of their letters."""
    return "".join(masks.get(letter, letter) for letter in masked)


def _shorter_later(word: str) -> tuple[int, str]:
    return -len(word), word


def _starts_with(caption: str, word: str) -> bool:
    return re.match(_whole(word), caption) is not None


def _ends_with(caption: str, word: str) -> bool:
    return re.search(_whole(word) + r"\Z", caption) is not None


def _whole(word: str) -> str:
    return rf"(?<!\w){re.escape(word)}(?!\w)"
