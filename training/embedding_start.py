"""The vectors that a word goes on from."""

from collections.abc import Mapping
from pathlib import Path

from ..dataset.files import content_key as hash_of_file
from .embedding_file import read_embedding
from .embedding_forms import pair_of
from .file_names import content_key
from .text_settings import EmbeddingSettings
from .words import Vectors


def start_hash(path: Path) -> str:
    """Return a hash of what vectors of an embedding file depend on: its bytes, and its partner's if it may have one."""
    hashes = [hash_of_file(file) for file in pair_of(path) if file == path or file.is_file()]
    return hashes[0] if len(hashes) == 1 else content_key(hashes)


def start_of(word: EmbeddingSettings, path: Path, widths: Mapping[str, int]) -> Vectors:
    """Return the vectors at `path` that `word` goes on from.

    Raises ValueError as `vectors_of` does, and where the contents are not those that the recipe was made with: the run
    would stand under the wrong key.
    """
    if start_hash(path) != word.init_hash:
        raise ValueError(
            f"init_file: got {path.name}, which is not as it was when the recipe was made, allowed is the same file, "
            "queue again"
        )
    return vectors_of(path, word.token, widths)


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
