"""Prompts to make pictures from: typed lines, a dataset's captions, or both."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from .captions import TriggerWord, contains_word, without_word
from .dataset import Dataset
from .fits import check_choice
from .seeds import generator

PromptSource = Literal["text", "captions", "text and captions"]
TriggerMode = Literal["as is", "with", "without", "with and without"]
Choice = Literal["first", "evenly spaced", "random"]

_BARE_BRACKET = re.compile(r"(?<!\\)([()])")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


class Prompt(NamedTuple):
    """One picture to make. name: safe in file names, different for each prompt of a set."""

    text: str
    seed: int
    name: str


@dataclass(frozen=True)
class PromptSet:
    """How prompts are gathered and multiplied.

    source: typed lines, captions, or both (lines first). trigger: leave prompts alone, add `word` in front where it is
    missing, take it out, or one of each. limit: how many are kept (0 for all), chosen as `choice` says. variations:
    pictures per prompt, with seeds `seed`, `seed` + 1, ...; the same for every prompt. prompt_syntax: read brackets in
    captions as weights (typed lines always are).
    """

    source: PromptSource = "text"
    trigger: TriggerMode = "as is"
    word: str = ""
    limit: int = 0
    choice: Choice = "first"
    variations: int = 1
    seed: int = 0
    prompt_syntax: bool = False

    def __post_init__(self) -> None:
        for name, choices in (("source", PromptSource), ("trigger", TriggerMode), ("choice", Choice)):
            check_choice(name, getattr(self, name), choices)
        if self.variations < 1:
            raise ValueError(f"variations: got {self.variations}, allowed 1 or more, raise it")

    def texts(self, lines: str = "", dataset: Dataset | None = None) -> list[str]:
        """Return the chosen prompts, each once and never empty, in order.

        Raises ValueError when there is none, or when a dataset or a trigger word is needed and missing.
        """
        word = self.word.strip() or (dataset.trigger if dataset else "")
        if self.trigger != "as is" and not word:
            raise ValueError(f"trigger: got {self.trigger!r} and no word, allowed with a word, type the trigger word")
        found = self._chosen(_unique(self._all(lines, dataset, word)))
        if not found:
            raise ValueError(
                f"prompts: got none from {self.source}, allowed is one or more, type a line or add captions"
            )
        return found

    def prompts(self, lines: str = "", dataset: Dataset | None = None) -> list[Prompt]:
        """Return every prompt in every variation, the variations of one prompt together. Raises as `texts`."""
        return [
            Prompt(text, self.seed + variation, f"{number:03}-{_slug(text)}-v{variation + 1}")
            for number, text in enumerate(self.texts(lines, dataset), start=1)
            for variation in range(self.variations)
        ]

    def _all(self, lines: str, dataset: Dataset | None, word: str) -> Iterable[str]:
        if self.source != "captions":
            for line in lines.splitlines():
                yield from self._triggered(line.strip(), word)
        if self.source != "text":
            for caption in _captions(dataset):
                texts = self._triggered(" ".join(caption.split()), word)
                yield from texts if self.prompt_syntax else map(escape_prompt_syntax, texts)

    def _triggered(self, text: str, word: str) -> list[str]:
        """Return what the trigger mode makes of the text; an empty one stays empty."""
        if not text or self.trigger == "as is":
            return [text]
        added = text if contains_word(text, word) else TriggerWord(word).placed_in(text)
        taken = without_word(text, word)
        return {"with": [added], "without": [taken], "with and without": [added, taken]}[self.trigger]

    def _chosen(self, texts: list[str]) -> list[str]:
        count = len(texts)
        if not self.limit or self.limit >= count:
            return texts
        if self.choice == "random":
            indices = sorted(generator(self.seed, "prompt_set").permutation(count)[: self.limit])
        elif self.choice == "evenly spaced":
            indices = [position * count // self.limit for position in range(self.limit)]
        else:
            indices = list(range(self.limit))
        return [texts[index] for index in indices]


def escape_prompt_syntax(text: str) -> str:
    r"""Return `text` so that ComfyUI's prompt parser reads its brackets as letters.

    ``CLIPTextEncode`` of the result gives the tokens that the plain text has with weights switched off. Brackets that
    already have a backslash keep it (the parser drops one either way). ``embedding:name`` cannot be escaped: ComfyUI
    looks for embeddings in plain text too.
    """
    return _BARE_BRACKET.sub(r"\\\1", text)


def one_per_line(texts: Iterable[str]) -> str:
    """Return the texts one a line, line breaks inside a text folded to spaces."""
    return "\n".join(" ".join(text.split()) for text in texts)


def _captions(dataset: Dataset | None) -> list[str]:
    if dataset is None:
        raise ValueError("dataset: got nothing, allowed is a dataset when captions are the source, connect one")
    dataset.require_items()
    return [dataset.caption(index) for index in range(len(dataset))]


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text.strip()))


def _slug(text: str) -> str:
    return _NOT_IN_NAMES.sub("-", text.lower()).strip("-")[:40].strip("-") or "prompt"
