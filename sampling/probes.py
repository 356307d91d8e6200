"""The texts with which a text encoder is asked what has become of its words."""

from collections.abc import Iterable
from dataclasses import dataclass

LEARNT, OWN = "learnt", "own"

# Everyday words, each one token of CLIP's vocabulary, and prompts as people write them.
_WORDS = {
    "things": "car house chair clock guitar boat book lamp statue",
    "nature": "tree flower mountain sea fire cloud dog cat bird",
    "people": "man woman child king soldier face hand ghost",
    "places": "street city forest beach castle kitchen desert church",
    "colours": "red blue green yellow black white purple orange",
    "shapes": "circle square triangle cross ring star line dot",
    "materials": "wood stone glass gold metal paper silk ice",
    "styles": "photo painting drawing sketch cartoon noise vintage abstract",
    "function words": "the of with and not on under many",
}
_PROMPTS = (
    "a photo of a dog",
    "a portrait of a woman",
    "an old street at night",
    "a red car in the snow",
    "an oil painting of a mountain lake",
    "a drawing of a house under a tree",
    "a blue circle and a red square",
    "a marble statue in a garden",
)
BUILT_IN: tuple[tuple[str, tuple[str, ...]], ...] = (
    *((kind, tuple(words.split())) for kind, words in _WORDS.items()),
    ("prompts", _PROMPTS),
)


@dataclass(frozen=True)
class Probe:
    """A text to ask with. kind: the class it belongs to; LEARNT for the run's trigger and words."""

    text: str
    kind: str

    @property
    def learnt(self) -> bool:
        """Whether it is the run's own: its drift is wanted, and says nothing of how the rest moved."""
        return self.kind == LEARNT


def probes_from(text: str, learnt: Iterable[str]) -> tuple[Probe, ...]:
    """Return the run's own words, then the probes of a text, one a line, or the built-in ones for an empty text.

    A line such as ``# animals`` names the class of the lines below it; without one it is "own". Blank lines count for
    nothing, and each text is asked once. Raises ValueError when there are only headings.
    """
    found = {word: Probe(word, LEARNT) for word in learnt if word.strip()}
    asked = _read(text) if text.strip() else [(line, kind) for kind, lines in BUILT_IN for line in lines]
    if not asked:
        raise ValueError("probes: got headings alone, allowed one text a line below them, write some or leave it empty")
    for line, kind in asked:
        found.setdefault(line, Probe(line, kind))
    return tuple(found.values())


def _read(text: str) -> list[tuple[str, str]]:
    kind, asked = OWN, []
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("#"):
            kind = line.lstrip("#").strip() or OWN
        else:
            asked.append((line, kind if kind != LEARNT else OWN))
    return asked
