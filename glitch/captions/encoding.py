"""Words in another code or another language."""

import base64
import codecs

import numpy as np

from ..context import Context
from ..registry import Parameter, operation
from .words import change_words, chosen, count_words


@operation(
    "noise",
    Parameter(
        "code",
        "base64",
        "What words are written in; table: the list below",
        choices=("base64", "hexadecimal", "rot13", "table"),
    ),
    Parameter("table", "", "For code table: a word, an equals sign and what replaces it, one pair a line"),
    subject="captions",
    wants_context=True,
)
def text_encoding(
    caption: str, rng: np.random.Generator, severity: float, *, context: Context, code: str, table: str
) -> str:
    """Text encoding: words in base64, hexadecimal digits, ROT13 or another language: nothing a model was taught.

    Severity is how likely each word is encoded. Triggers stay readable.
    """
    encoded = chosen(rng, count_words(caption, context.triggers), severity)
    pairs = dict(line.split("=", 1) for line in table.splitlines() if "=" in line)
    words = {word.strip().lower(): other.strip() for word, other in pairs.items()}
    return change_words(
        caption, context.triggers, lambda number, word: _encoded(word, code, words) if encoded[number] else word
    )


def _encoded(word: str, code: str, words: dict[str, str]) -> str:
    if code == "base64":
        return base64.b64encode(word.encode()).decode()
    if code == "hexadecimal":
        return word.encode().hex()
    return codecs.encode(word, "rot13") if code == "rot13" else words.get(word.lower(), word)
