"""Words that mean nothing: pronounceable, short, and no letter away from one that means something."""

import re
from collections.abc import Collection, Iterator
from string import ascii_lowercase

from .rude_words import is_rude
from .seeds import generator

_ONSETS = (*"bdfghjklmnprstvwz", "br", "dr", "fl", "fr", "gl", "gr", "kl", "kr", "pl", "sk", "sn", "tr", "vr", "zw")
_VOWELS = tuple("aeiou")
_CODAS = (*"bdfgklmnprstvxz", "lk", "lm", "nk", "rb", "rk", "rn", "sk", "st")
_FORMS = ("ovovc", "ovcov", "ovcovc", "ovovov")
_LENGTHS = range(5, 8)
_UNSAYABLE = re.compile("[^aeiou]{4}")
_TRIES = 20_000


def nonce_words(seed: int, known: Collection[str] = frozenset()) -> Iterator[str]:
    """Yield made-up words of 5 to 7 small letters, each once, in an order that depends on `seed` alone.

    known: words, in small letters, of which none may be within one letter (`is_near`). None is rude (`is_rude`). Ends
    when 20,000 draws in a row gave nothing new.
    """
    rng = generator(seed, "nonce words")
    parts = {"o": _ONSETS, "v": _VOWELS, "c": _CODAS}
    given: set[str] = set()
    misses = 0
    while misses < _TRIES:
        form = _FORMS[rng.integers(len(_FORMS))]
        word = "".join(parts[kind][rng.integers(len(parts[kind]))] for kind in form)
        misses += 1
        sayable = len(word) in _LENGTHS and not _UNSAYABLE.search(word)
        if sayable and word not in given and not is_rude(word) and not is_near(word, known):
            misses = 0
            given.add(word)
            yield word


def is_near(word: str, known: Collection[str]) -> bool:
    """Say whether `known` (a set, for speed) has `word` or one that differs by one letter added, lost or changed."""
    return word in known or any(other in known for other in _one_letter_away(word))


def _one_letter_away(word: str) -> Iterator[str]:
    for place in range(len(word) + 1):
        before, after = word[:place], word[place:]
        yield from (before + letter + after for letter in ascii_lowercase)
        if after:
            yield before + after[1:]
            yield from (before + letter + after[1:] for letter in ascii_lowercase)
