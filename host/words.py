"""A CLIP that knows new words: its tokenizer puts their vectors where a prompt writes them, as it does for files."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ..training.words import Vectors, plain_words, rewrite
from .description import fingerprint

OPTION = "glitch_lora_words"
# Where captions are no prompts, "embedding:" is ordinary text and this private letter stands for it.
_UNWRITTEN = "\ue6a7"


def clip_with_words(clip: Any, words: Mapping[str, Vectors]) -> Any:
    """Return a CLIP for whose prompts `words` are known: ``word``, ``<word>`` and ``embedding:word`` all mean them.

    What a prompt then encodes to is what ComfyUI gives for ``embedding:word`` and a file with these vectors. Words the
    CLIP knows already stay known. The CLIP given in is not changed, and neither is anything that other CLIPs share.
    """
    if not words:
        return clip
    knowing = clip.clone()
    knowing.tokenizer = _tokenizer(clip.tokenizer, words, literal=False)
    # The content key of whatever is made with this CLIP has to tell the words apart.
    known = {token: dict(vectors) for token, vectors in words.items()}
    knowing.set_tokenizer_option(OPTION, fingerprint([clip.tokenizer_options.get(OPTION), known]))
    return knowing


def clip_with_plain_words(clip: Any, tokens: tuple[str, ...]) -> Any:
    """Return a CLIP for which every way of writing `tokens` is the word as ordinary text: the model before training."""
    if not tokens:
        return clip
    plain = clip.clone()
    plain.tokenizer = copy.copy(clip.tokenizer)
    for name, part in tokenizer_parts(clip.tokenizer):
        setattr(plain.tokenizer, name, _reading(copy.copy(part), lambda text: plain_words(text, tokens)))
    plain.set_tokenizer_option(OPTION, fingerprint([clip.tokenizer_options.get(OPTION), list(tokens)]))
    return plain


def literal_tokenizer(tokenizer: Any, words: Mapping[str, Vectors]) -> Any:
    """Return a tokenizer that knows `words` and takes everything else as ordinary text, ``embedding:`` too."""
    return _tokenizer(tokenizer, words, literal=True)


def tokenizer_parts(tokenizer: Any) -> Iterator[tuple[str, Any]]:
    """Yield attribute and tokenizer for each text encoder's own part of a CLIP's tokenizer."""
    return ((name, part) for name, part in vars(tokenizer).items() if hasattr(part, "embedding_key"))


def prompt_tokenizer(tokenizer: Any, words: Mapping[str, Vectors]) -> Any:
    """Return a tokenizer that knows `words` beside all that ComfyUI's prompt syntax knows."""
    return _tokenizer(tokenizer, words, literal=False)


def _tokenizer(tokenizer: Any, words: Mapping[str, Vectors], literal: bool) -> Any:
    knowing = copy.copy(tokenizer)
    for name, part in tokenizer_parts(tokenizer):
        setattr(knowing, name, _knowing(part, words, literal))
    return knowing


def _knowing(part: Any, words: Mapping[str, Vectors], literal: bool) -> Any:
    """Return a copy of one encoder's tokenizer that finds the vectors of `words` for this encoder."""
    knowing = copy.copy(part)
    own = {token.lower(): parts[part.embedding_key] for token, parts in words.items() if part.embedding_key in parts}
    known = {} if literal else getattr(part, OPTION, {})
    setattr(knowing, OPTION, {**known, **own})
    if literal:
        knowing.embedding_identifier = _UNWRITTEN
    if literal or part.embedding_directory is None:  # None switches the whole lookup off
        knowing.embedding_directory = []
    _finding(knowing)
    return _reading(knowing, _as_embeddings(knowing))


def _as_embeddings(part: Any) -> Any:
    # With spaces around it ComfyUI finds the name's beginning and end whatever stands next to it.
    return lambda text: rewrite(text, getattr(part, OPTION), lambda token: f" {part.embedding_identifier}{token} ")


def _reading(part: Any, change: Any) -> Any:
    """Let `part`, a copy, read `change(text)` in place of each text."""
    tokenize = type(part).tokenize_with_weights

    def changed(text: str, *args: Any, **kwargs: Any) -> Any:
        return tokenize(part, change(text), *args, **kwargs)

    part.tokenize_with_weights = changed
    return part


def _finding(part: Any) -> None:
    """Let `part`, a copy, find its own words before it looks for files."""
    look = type(part)._try_get_embedding

    def found(text: str) -> tuple[Tensor | None, str, str]:
        name, *leftover = text.split()
        vectors = getattr(part, OPTION).get(name.lower())
        return look(part, text) if vectors is None else (vectors, name, " ".join(leftover))

    part._try_get_embedding = found
