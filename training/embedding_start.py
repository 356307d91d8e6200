"""The vectors that a word goes on from."""

from collections.abc import Mapping
from pathlib import Path

from .embedding_file import read_embedding
from .words import Vectors


def vectors_of(path: Path, token: str, widths: Mapping[str, int]) -> Vectors:
    """Return the vectors of `token` in an embedding file; of a file with one word, that word's.

    widths: encoder -> width of the model at hand. Raises ValueError for a file that cannot be read, does not fit the
    model or holds several other words.
    """
    words = read_embedding(path, widths).words
    if token not in words and len(words) > 1:
        raise ValueError(
            f"init_file: got {path.name} with the words {sorted(words)}, allowed a file with {token!r} or one word, "
            "choose another file or name the token like one of them"
        )
    return words[token] if token in words else next(iter(words.values()))
