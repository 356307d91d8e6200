"""Letters that go wrong: typing slips, misread print, lookalikes, invisible letters, broken encodings."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..context import Context
from ..registry import Parameter, operation
from .words import change_words, count_words

# Neighbours on a QWERTY keyboard.
_KEYS = {
    **dict(a="qwsz", b="vghn", c="xdfv", d="serfcx", e="wsdr", f="drtgvc", g="ftyhbv", h="gyujnb", i="ujko"),
    **dict(j="huikmn", k="jiolm", l="kop", m="njk", n="bhjm", o="iklp", p="ol", q="wa", r="edft", s="awedxz"),
    **dict(t="rfgy", u="yhji", v="cfgb", w="qase", x="zsdc", y="tghu", z="asx"),
}
# What optical character recognition reads instead, one letter or two.
_OCR = {
    letter: read.split()
    for letter, read in dict(
        **dict(a="o", b="6 h", c="e (", d="cl", e="c", g="9 q", h="b", i="l 1", l="1 I", m="rn", n="ri", o="0", q="9"),
        **dict(r="n", s="5", t="f", u="v", v="u", w="vv", y="v", z="2", B="8", D="O", G="6", I="l", O="0", S="5"),
    ).items()
}
_LEET = dict(a="4", b="8", e="3", g="9", i="1", l="1", o="0", s="5", t="7", z="2")
# Cyrillic and Greek letters that look like Latin ones.
_LOOKALIKES = {
    **dict(a="а", c="с", e="е", i="і", j="ј", o="о", p="р", s="ѕ", x="х", y="у", v="ν", u="υ", n="ո", h="һ", d="ԁ"),
    **dict(A="А", B="В", C="С", E="Е", H="Н", I="І", K="К", M="М", O="О", P="Р", S="Ѕ", T="Т", X="Х", Y="У"),
}
_ACCENTED = dict(a="áâä", c="ç", e="éèê", i="ìîï", n="ñ", o="óôö", u="úûü", y="ÿ", A="Â", E="É", O="Ö", U="Ü")
_TABLES: dict[str, Mapping[str, Sequence[str]]] = {
    "keyboard": _KEYS,
    "scanned print": _OCR,
    "leet": _LEET,
    "lookalikes": _LOOKALIKES,
}
_INVISIBLE = "\u200b\u200c\u2060\ufeff"
_TO_LEFT, _BACK = "\u202e", "\u202c"

_KINDS = ("keyboard", "scanned print", "leet", "lookalikes", "invisible letters", "broken encoding", "case", "mirrored")


@operation(
    "noise",
    Parameter("slip", "keyboard", "keyboard: neighbouring keys; mirrored: whole words, right to left", choices=_KINDS),
    Parameter("probability", 0.3, "How likely each letter goes wrong; of mirrored: each word", 0.0, 1.0, 0.01),
    subject="captions",
    wants_context=True,
)
def typing_noise(
    caption: str, rng: np.random.Generator, severity: float, *, context: Context, slip: str, probability: float
) -> str:
    """Typing noise: slips of keys or of encodings that tear words into rare pieces.

    Severity scales the probability. Lookalikes, invisible letters and mirrored words read as before to the eye alone.
    """
    seeds = rng.integers(0, 2**63, count_words(caption, context.triggers))
    share = severity * probability

    def changed(number: int, word: str) -> str:
        draws = np.random.Generator(np.random.PCG64(int(seeds[number]))).random((len(word), 2))
        if slip == "mirrored":
            return f"{_TO_LEFT}{word}{_BACK}" if draws[0, 0] < share else word
        return "".join(
            _wrong(letter, slip, pick) if hit < share else letter
            for letter, (hit, pick) in zip(word, draws, strict=True)
        )

    return change_words(caption, context.triggers, changed)


def _wrong(letter: str, slip: str, draw: float) -> str:
    """Return what is written instead of the letter; the letter itself where the slip has nothing for it."""
    if slip == "invisible letters":
        return letter + _INVISIBLE[int(draw * len(_INVISIBLE))]
    if slip == "case":
        return letter.swapcase()
    if slip == "broken encoding":
        return _misread(letter, draw)
    table = _TABLES[slip]
    found = table.get(letter) or table.get(letter.lower(), letter)
    wrong = found[int(draw * len(found))]
    return wrong.upper() if slip == "keyboard" and letter.isupper() else wrong


def _misread(letter: str, draw: float) -> str:
    """Return a letter's UTF-8 bytes read as Windows-1252, ASCII letters with an accent first."""
    accents = _ACCENTED.get(letter, letter)
    return accents[int(draw * len(accents))].encode().decode("cp1252", errors="replace")
