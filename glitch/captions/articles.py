"""The English article "a" or "an" before a word that was replaced or taken out."""

import re
from collections.abc import Sequence

_VOWELS = "aeiou"
# Beginnings whose sound is not that of their first letter, and those that may sound either way.
_SOUND_CONSONANT = re.compile(
    r"one($|-|s|\d)|once|eu|ew|ubi|ufo|unic|unif|union|uniq|unis|unit|univ|unanim|urin|us[aeu]|ut[ei]"
)
_SOUND_VOWEL = re.compile(r"hour|honest|honou?r|heir")
_UNSURE = re.compile(r"us|ura|ure|uri|uro|uk|homage|herb|y[^aeiou]")


def begins_with_vowel(word: str) -> bool | None:
    """Say whether an English word begins with the sound of a vowel; None where its letters do not tell.

    Numbers, single letters and capitals that may be spelt out do not tell: "a UFO", "an MRI", "an 8".
    """
    low = word.lower()
    if not re.match(r"[a-z]{2}", low) or word[:2].isupper() or re.match(r"[a-z]-", low):
        return None
    if _SOUND_CONSONANT.match(low):
        return False
    if _SOUND_VOWEL.match(low):
        return True
    return None if _UNSURE.match(low) else low[0] in _VOWELS


def with_articles_mended(text: str, found: Sequence[re.Match[str]], words: Sequence[str]) -> list[str]:
    """Return the words that replace those found in a text, with each "a" or "an" fitting the word that follows now.

    "" takes a word out. An article changes only before a changed word, only if it was right before, only if nothing but
    spaces stand between, and only if the sound of the word is certain.
    """
    mended = list(words)
    for number, match in enumerate(found[:-1]):
        before, after = found[number + 1].group(), words[number + 1]
        article = words[number]
        if article != match.group() or article.lower() not in ("a", "an") or before == after:
            continue
        if begins_with_vowel(before) is (article.lower() == "an"):
            vowel = begins_with_vowel(_following(text, found, words, number))
            mended[number] = article if vowel is None else article[0] + "n" * vowel
    return mended


def _following(text: str, found: Sequence[re.Match[str]], words: Sequence[str], number: int) -> str:
    """Return the next word that is left behind one, "" when more than spaces stand between."""
    for earlier, later, word in zip(found[number:], found[number + 1 :], words[number + 1 :], strict=False):
        if not text[earlier.end() : later.start()].isspace():
            return ""
        if word:
            return word
    return ""
