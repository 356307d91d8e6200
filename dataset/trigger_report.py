"""What the trigger word does, in lines of text."""

import re
from collections.abc import Iterable

from .captions import TriggerWord, contains_word
from .dataset import Dataset

Cut = tuple[str, tuple[tuple[int, str], ...]]


def describe_trigger(before: Dataset, step: TriggerWord, cuts: Iterable[Cut] = ()) -> str:
    """Return what `step` did to the captions of `before`, an example, and how tokenizers cut the word.

    cuts: (tokenizer, ((id, text), ...)) for each tokenizer of the connected text encoder. A word that is one token, or
    a phrase whose words are one token each, may already mean something to the model, and gets a warning.
    """
    captions = [before.caption(index) for index in range(len(before))]
    lines = [f"Trigger: {step.word!r} ({step.position}) in {len(captions)} captions."]
    present = sum(contains_word(caption, step.word) for caption in captions)
    if present:
        lines.append(f"Already in {present} of them.")
    if before.trigger not in ("", step.word):
        lines.append(
            f"Warning: the captions have the trigger {before.trigger!r} already: a training will share its meaning out "
            f"between both words. Write {before.trigger!r} here too, or take the other out."
        )
    lacking = sum(step.placeholder not in caption for caption in captions)
    if step.position == "replace placeholder" and lacking:
        lines.append(f"{lacking} captions have no {step.placeholder!r}; the word stands in front there.")
    if captions:
        lines.append(f"First caption: {step.placed_in(captions[0])[:200]}")
    for tokenizer, tokens in cuts:
        lines += _describe_cut(step.word, tokenizer, tokens)
    return "\n".join(lines)


def _describe_cut(word: str, tokenizer: str, tokens: tuple[tuple[int, str], ...]) -> list[str]:
    pieces = " ".join(f"{text}={number}" for number, text in tokens)
    lines = [f"Tokens ({tokenizer}): {len(tokens)}: {pieces}"]
    known = "a real word" if len(tokens) == 1 else "made only of real words"
    if len(tokens) == 1 or is_of_real_words(word, [text for _, text in tokens]):
        lines.append(
            f"Warning: {word!r} is {known} for tokenizer {tokenizer}: the model already knows a meaning, unless it is "
            "rare; Inspect Trigger tells."
        )
    return lines


def is_of_real_words(word: str, pieces: Iterable[str]) -> bool:
    """Say whether a tokenizer that cuts `word` into the texts `pieces` knows each of its words as a whole."""
    words = re.findall(r"\w+", word)
    # Tokenizers cut between words, so as many pieces as words leave each word whole; commas are pieces of their own.
    return bool(words) and sum(bool(re.search(r"\w", text.removesuffix("</w>"))) for text in pieces) == len(words)
