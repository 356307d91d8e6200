"""Words that get lost, doubled, replaced or stuck."""

import numpy as np

from ..context import Context
from ..registry import Parameter, operation
from .words import WORD, change_words, count_words, mask_triggers


def _probability(name: str, help: str) -> Parameter:
    return Parameter(name, 0.15, help, 0.0, 1.0, 0.01)


@operation(
    "noise",
    _probability("deletion", "How likely a word is left out"),
    _probability("duplication", "How likely a word is said more than once"),
    _probability("substitution", "How likely a word is replaced by one of any caption of the dataset"),
    _probability("stutter", "How likely a word st-st-stutters"),
    Parameter("max_repeats", 3, "A doubled or stuttered word comes back up to so many times", 1, 20),
    subject="captions",
    wants_context=True,
)
def word_noise(
    caption: str,
    rng: np.random.Generator,
    severity: float,
    *,
    context: Context,
    deletion: float,
    duplication: float,
    substitution: float,
    stutter: float,
    max_repeats: int,
) -> str:
    """Word noise: words are lost, doubled, replaced by words of other captions, or stutter.

    Severity scales every probability. The four kinds are those of "easy data augmentation" (Wei and Zou, 2019), with
    duplication and stutter in place of synonyms and insertion.
    """
    count = count_words(caption, context.triggers)
    draws = rng.random((count, 4)) < severity * np.array([deletion, duplication, substitution, stutter])
    repeats = 1 + (rng.random(count) * max_repeats).astype(int)
    strangers = rng.random((count, 2))

    def changed(number: int, word: str) -> str:
        lost, doubled, replaced, stuck = draws[number]
        if lost:
            return ""
        word = _borrowed(word, context, strangers[number]) if replaced else word
        word = f"{word[:2]}-" * repeats[number] + word if stuck else word
        return " ".join([word] * (1 + repeats[number])) if doubled else word

    return change_words(caption, context.triggers, changed)


def _borrowed(word: str, context: Context, draws: np.ndarray) -> str:
    """Return a word of one of the dataset's captions; the word itself when there is none."""
    if not len(context.others):
        return word
    caption = context.others[int(draws[0] * len(context.others))]
    words = WORD.findall(mask_triggers(caption, context.triggers)[0])
    return words[int(draws[1] * len(words))] if words else word
