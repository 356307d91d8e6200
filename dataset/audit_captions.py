"""What is wrong with a dataset's captions."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from .audit_finding import Finding
from .captions import contains_word

FUSED = 0.95  # of all captions
USUAL = 0.7
FEWEST = 5

_WORD = re.compile(r"[^\W\d_][\w'-]*")
_PLAIN_WORDS = frozenset(
    "a an and are as at be by for from has have in into is it its of on or over that the their there this to under "
    "up with while which was were one two".split()
)
_COLOUR_WORDS = frozenset(
    "amber aqua azure beige black blonde blue bronze brown burgundy charcoal colorful colorless colourful colourless "
    "copper coral cream crimson cyan desaturated ebony emerald fuchsia gold golden gray grayscale green grey greyscale "
    "indigo ivory khaki lavender lilac lime magenta maroon mauve monochrome mustard navy neon ochre olive orange "
    "pastel peach pink plum purple red rose ruby rust rusty saffron salmon sapphire scarlet sepia silver tan taupe "
    "teal terracotta turquoise umber vermilion violet white yellow".split()
)


def caption_findings(captions: Sequence[str], names: Sequence[str], trigger: str) -> Iterator[Finding]:
    """Yield what is wrong with the captions, after all steps, of the pictures called `names`.

    trigger: the word that each should have; "" when there is none.
    """
    for index, (caption, name) in enumerate(zip(captions, names, strict=True)):
        if not _said(caption, trigger):
            yield Finding("no caption", name, "says nothing" if not caption.strip() else "only the trigger", index)
        if trigger and not contains_word(caption, trigger):
            yield Finding("no trigger", name, f"{trigger!r} is not in it", index)
    yield from _without_colours(captions, names)
    yield from _fused(captions, trigger)


def has_colour(caption: str) -> bool:
    """Say whether the caption has a word for a colour."""
    return not _COLOUR_WORDS.isdisjoint(_words(caption))


def _said(caption: str, trigger: str) -> str:
    return (caption.replace(trigger, "") if trigger else caption).strip(" ,.;\n")


def _without_colours(captions: Sequence[str], names: Sequence[str]) -> Iterator[Finding]:
    lacking = [index for index, caption in enumerate(captions) if not has_colour(caption)]
    if not captions or not lacking:
        return
    if len(lacking) <= (1 - USUAL) * len(captions):
        yield from (Finding("no colour words", names[index], "the others name colours", index) for index in lacking)
    else:
        yield Finding("captions without colours", "", f"{len(lacking)} of {len(captions)} name no colour")


def _fused(captions: Sequence[str], trigger: str) -> Iterator[Finding]:
    if len(captions) < FEWEST:
        return
    counts = Counter(word for caption in captions for word in _words(caption))
    own = _words(trigger)
    fused = [
        word
        for word, count in counts.most_common()
        if count >= FUSED * len(captions) and word not in own and word not in _PLAIN_WORDS
    ]
    if fused:
        yield Finding("fused words", "", f"nearly every caption has {', '.join(fused[:12])}")


def _words(caption: str) -> set[str]:
    return set(_WORD.findall(caption.casefold()))
