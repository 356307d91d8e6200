"""How the connected text encoder cuts a word."""

from typing import Any, NamedTuple

from torch import Tensor

Token = tuple[int, str]


class Cut(NamedTuple):
    """A word in one tokenizer: its name (``l``, ``g``, ``t5xxl`` ...) and the (id, text) of each piece."""

    tokenizer: str
    tokens: tuple[Token, ...]


def cut_word(clip: Any, word: str) -> list[Cut]:
    """Return the pieces of `word` for each tokenizer of a CLIP, without start, end and padding."""
    return [Cut(name, _named(clip, name, pieces)) for name, pieces in word_pieces(clip, word).items()]


def word_pieces(clip: Any, word: str) -> dict[str, list[int | Tensor]]:
    """Return what `word` is cut into, by tokenizer name: ids, and the vectors of embeddings that it names."""
    batches = clip.tokenize(word, return_word_ids=True, disable_weights=True)
    return {name: [entry[0] for row in rows for entry in row if entry[2] > 0] for name, rows in batches.items()}


def part_of(owner: Any, name: str) -> Any:
    """Return the part of a CLIP's tokenizer or text model that belongs to tokenizer `name`, None if it has none."""
    return getattr(owner, f"clip_{name}", None) or getattr(owner, name, None)


def _named(clip: Any, name: str, pieces: list[int | Tensor]) -> tuple[Token, ...]:
    texts = getattr(part_of(clip.tokenizer, name) or clip.tokenizer, "inv_vocab", {})
    return tuple((piece, str(texts.get(piece, "?"))) for piece in pieces if isinstance(piece, int))
