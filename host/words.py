"""A CLIP that knows new words: its tokenizer puts their vectors where a prompt writes them, as it does for files."""

import copy
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from torch import Tensor

from ..training.words import Vectors, plain_words, rewrite
from .description import fingerprint
from .embeddings import without_embeddings

OPTION = "glitch_lora_words"
_PLAIN = "glitch_lora_plain_words"
# Where captions are no prompts, "embedding:" is ordinary text and this private letter stands for it.
_UNWRITTEN = "\ue6a7"


def clip_with_words(clip: Any, words: Mapping[str, Vectors]) -> Any:
    """Return a CLIP for whose prompts `words` are known: ``word``, ``<word>`` and ``embedding:word`` all mean them.

    What a prompt then encodes to is what ComfyUI gives for ``embedding:word`` and a file with these vectors. Words the
    CLIP knows already stay known. The CLIP given in is not changed, and neither is anything that other CLIPs share.
    """
    if not words:
        return clip
    known = {token: dict(vectors) for token, vectors in words.items()}
    return _clip_with(clip, _tokenizer(clip.tokenizer, words, (), literal=False), known)


def clip_with_plain_words(clip: Any, tokens: tuple[str, ...]) -> Any:
    """Return a CLIP for which every way of writing `tokens` is the word as ordinary text: the model before training.

    Other words that the CLIP knows stay known.
    """
    if not tokens:
        return clip
    return _clip_with(clip, _tokenizer(clip.tokenizer, {}, tokens, literal=False), list(tokens))


def _clip_with(clip: Any, tokenizer: Any, what: Any) -> Any:
    other = clip.clone()
    other.tokenizer = tokenizer
    # The content key of whatever is made with this CLIP has to tell the words apart.
    other.set_tokenizer_option(OPTION, fingerprint([clip.tokenizer_options.get(OPTION), what]))
    return other


def literal_tokenizer(tokenizer: Any, words: Mapping[str, Vectors]) -> Any:
    """Return a tokenizer that knows `words` and those that it knew; all else is ordinary text, ``embedding:`` too."""
    return _tokenizer(tokenizer, words, (), literal=True)


def prompt_tokenizer(tokenizer: Any, words: Mapping[str, Vectors]) -> Any:
    """Return a tokenizer that knows `words` beside all that ComfyUI's prompt syntax knows."""
    return _tokenizer(tokenizer, words, (), literal=False)


def caption_clip(clip: Any) -> Any:
    """Return a CLIP to tokenize captions with: words it knows are words, and ``embedding:`` of others ordinary text."""
    if not any(hasattr(part, OPTION) for _, part in tokenizer_parts(clip.tokenizer)):
        return without_embeddings(clip)
    other = copy.copy(clip)
    other.tokenizer = literal_tokenizer(clip.tokenizer, {})
    return other


def tokenizer_parts(tokenizer: Any) -> Iterator[tuple[str, Any]]:
    """Yield attribute and tokenizer for each text encoder's own part of a CLIP's tokenizer."""
    return ((name, part) for name, part in vars(tokenizer).items() if hasattr(part, "embedding_key"))


def _tokenizer(tokenizer: Any, words: Mapping[str, Vectors], plain: tuple[str, ...], literal: bool) -> Any:
    knowing = copy.copy(tokenizer)
    for name, part in tokenizer_parts(tokenizer):
        setattr(knowing, name, _knowing(part, words, plain, literal))
    return knowing


def _knowing(part: Any, words: Mapping[str, Vectors], plain: tuple[str, ...], literal: bool) -> Any:
    """Return a copy of one encoder's tokenizer that finds `words`, and reads `plain` as ordinary text.

    What the tokenizer knew and read plainly before stays, where neither says otherwise.
    """
    knowing = copy.copy(part)
    own = {token.lower(): parts[part.embedding_key] for token, parts in words.items() if part.embedding_key in parts}
    ordinary = {token.lower() for token in plain}
    known, unknown = getattr(part, OPTION, {}), getattr(part, _PLAIN, ())
    setattr(knowing, OPTION, {token: known[token] for token in known.keys() - ordinary} | own)
    setattr(knowing, _PLAIN, tuple(sorted({*unknown} - own.keys() | ordinary)))
    if literal or part.embedding_directory is None:  # None switches the whole lookup off
        knowing.embedding_identifier = _UNWRITTEN
        knowing.embedding_directory = []
    knowing.__class__ = _knowing_class(part.__class__)
    return knowing


@cache
def _knowing_class(base: Any) -> Any:
    """Return a class of tokenizers like `base` that read each text as their words want it."""
    if getattr(base, "reads_words", False):
        return base

    class Knowing(base):  # type: ignore[misc]
        reads_words = True

        def tokenize_with_weights(self, text: str, *args: Any, **kwargs: Any) -> Any:
            text = plain_words(text, getattr(self, _PLAIN))
            # With spaces around it ComfyUI finds the name's beginning and end whatever stands next to it.
            text = rewrite(text, getattr(self, OPTION), lambda token: f" {self.embedding_identifier}{token} ")
            return super().tokenize_with_weights(text, *args, **kwargs)

        def _try_get_embedding(self, text: str) -> tuple[Tensor | None, str, str]:
            name, *leftover = text.split() or [""]
            vectors = getattr(self, OPTION).get(name.lower())
            found = super()._try_get_embedding
            return found(text) if vectors is None else (vectors, name, " ".join(leftover))

    return Knowing
