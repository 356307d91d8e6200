"""Words that may become triggers: what is known of those asked for, and suggestions of free ones."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Protocol

from .captions import contains_word
from .nonce_words import nonce_words
from .probe_words import PROBE_WORDS
from .rude_words import is_rude
from .seeds import generator
from .trigger_facts import EncoderFacts, WordFacts

SuggestionKind = Literal["nonce words", "rare tokens", "both"]
Files = Callable[[Iterable[str]], Mapping[str, Any]]
_DRAWN = 2000  # made-up words of which those are looked at closely that are cut into the rarest pieces
_CLOSELY = 48


class Inspector(Protocol):
    """What looks words up in text encoders."""

    def known_words(self) -> Collection[str]:
        """Return the words, in small letters, that a made-up one must not be mistaken for."""

    def rare_tokens(self) -> list[str]:
        """Return short words that are one rare token."""

    def emptiness(self, word: str) -> float:
        """Return how rare the pieces of a word are, 0 (unfit) to 1."""

    def inspect(self, words: Sequence[str], probes: Sequence[str], count: int) -> list[tuple[EncoderFacts, ...]]:
        """Return what each encoder makes of each word, with `count` nearest words."""


@dataclass(frozen=True)
class Choice:
    """The words asked for, and the suggestions of each kind, the freest first."""

    asked: tuple[WordFacts, ...]
    nonce: tuple[WordFacts, ...] = ()
    rare: tuple[WordFacts, ...] = ()

    @property
    def suggested(self) -> tuple[str, ...]:
        """The suggested words."""
        return tuple(facts.word for facts in (*self.nonce, *self.rare))


def split_words(text: str) -> tuple[str, ...]:
    """Return what stands between commas and line ends, each once."""
    return tuple(dict.fromkeys(word for part in re.split(r"[,\n]", text) if (word := " ".join(part.split()))))


def choose_trigger(
    inspector: Inspector,
    words: Sequence[str],
    captions: Sequence[str] = (),
    files: Files = dict.fromkeys,
    *,
    neighbours: int = 4,
    suggestions: int = 6,
    kind: SuggestionKind = "nonce words",
    seed: int = 0,
) -> Choice:
    """Return what is known of `words`, and up to `suggestions` free words of each `kind` asked for.

    A suggestion is not rude (`is_rude`), stands in no caption, is no embedding file's name (files: name -> its file or
    None, for texts that name it with ``embedding:``), and of those drawn its outputs are the farthest from
    `PROBE_WORDS`. The same seed, captions and text encoders give the same ones. Raises ValueError if there is nothing
    to do.
    """
    if not words and not suggestions:
        raise ValueError("word: got none and no suggestions, allowed is one word or more, type one")
    heard = frozenset(word for caption in captions for word in re.findall(r"\w+", caption.lower()))
    nonce, rare = _candidates(inspector, {*heard, *(word.lower() for word in words)}, kind if suggestions else "", seed)
    found = inspector.inspect([*words, *nonce, *rare], PROBE_WORDS, neighbours)
    named = files(f"embedding:{word}" for word in words)
    asked = [_facts(word, facts, captions, named) for word, facts in zip(words, found, strict=False)]
    after = len(words) + len(nonce)
    return Choice(
        tuple(asked),
        _freest(nonce, found[len(words) : after], captions, files, suggestions),
        _freest(rare, found[after:], captions, files, suggestions),
    )


def _candidates(inspector: Inspector, taken: Collection[str], kind: str, seed: int) -> tuple[list[str], list[str]]:
    nonce: list[str] = []
    rare: list[str] = []
    if kind in ("nonce words", "both"):
        drawn = [word for word in islice(nonce_words(seed, inspector.known_words()), _DRAWN) if word not in taken]
        emptiness = {word: inspector.emptiness(word) for word in drawn}
        nonce = sorted((word for word in drawn if emptiness[word]), key=lambda word: -emptiness[word])[:_CLOSELY]
    if kind in ("rare tokens", "both"):
        tokens = [word for word in inspector.rare_tokens() if word not in taken and not is_rude(word)]
        rare = [tokens[place] for place in generator(seed, "rare tokens").permutation(len(tokens))[:_CLOSELY]]
    return nonce, rare


def _facts(
    word: str, encoders: tuple[EncoderFacts, ...], captions: Sequence[str], files: Mapping[str, Any]
) -> WordFacts:
    present = sum(contains_word(caption.lower(), word.lower()) for caption in captions)
    return WordFacts(word, encoders, getattr(files.get(word), "name", ""), present, len(captions))


def _freest(
    words: Sequence[str], found: Sequence[tuple[EncoderFacts, ...]], captions: Sequence[str], files: Files, count: int
) -> tuple[WordFacts, ...]:
    ranked = sorted((_facts(word, facts, captions, {}) for word, facts in zip(words, found, strict=True)), key=_rank)
    free = (facts for facts in ranked if files([f"embedding:{facts.word}"]).get(facts.word) is None)
    return tuple(islice(free, count))


def _rank(facts: WordFacts) -> tuple[float, str]:
    return round(facts.closeness, 3), facts.word  # rounded: another machine's last digit must not change the order
