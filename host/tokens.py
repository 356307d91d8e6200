"""How the connected text encoder cuts a word."""

from typing import Any, NamedTuple

Token = tuple[int, str]


class Cut(NamedTuple):
    """A word in one tokenizer: its name (``l``, ``g``, ``t5xxl`` ...) and the (id, text) of each piece."""

    tokenizer: str
    tokens: tuple[Token, ...]


def cut_word(clip: Any, word: str) -> list[Cut]:
    """Return the pieces of `word` for each tokenizer of a CLIP, without start, end and padding."""
    batches = clip.tokenize(word, return_word_ids=True, disable_weights=True)
    return [Cut(name, _pieces(clip.tokenizer, name, rows)) for name, rows in batches.items()]


def _pieces(tokenizer: Any, name: str, rows: list) -> tuple[Token, ...]:
    inner = getattr(tokenizer, f"clip_{name}", None) or getattr(tokenizer, name, tokenizer)
    texts = getattr(inner, "inv_vocab", {})
    ids = [entry[0] for row in rows for entry in row if entry[2] > 0 and isinstance(entry[0], int)]
    return tuple((number, str(texts.get(number, "?"))) for number in ids)
