"""What an audit can find, and how serious each kind is."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Severity = Literal["defect", "warning", "advice"]


class Kind(NamedTuple):
    """A kind of finding. of: a picture, its caption, or the whole dataset. fix: what to do, in words."""

    severity: Severity
    of: Literal["picture", "caption", "dataset"]
    fix: str


KINDS: dict[str, Kind] = {
    "unreadable": Kind("defect", "picture", "loading leaves it out; repair or remove the file"),
    "tiny": Kind("defect", "picture", "drop it, or replace it by a larger one: enlarging teaches softness"),
    "heavily compressed": Kind("defect", "picture", "drop it, or find the original, unless the blocks are meant"),
    "blank": Kind("defect", "picture", "drop it"),
    "exact duplicate": Kind("defect", "picture", "drop it: it counts double and is learned by heart"),
    "near duplicate": Kind("defect", "picture", "drop it: it counts double and is learned by heart"),
    "blurred": Kind("warning", "picture", "drop it, unless softness is meant"),
    "underexposed": Kind("warning", "picture", "drop it, or brighten it"),
    "overexposed": Kind("warning", "picture", "drop it, or darken it"),
    "extreme shape": Kind("warning", "picture", "crop it by hand: framing cuts most of it away"),
    "odd background": Kind("warning", "picture", "give it the others' background, or name it in the caption"),
    "odd palette": Kind("warning", "picture", "name its colours in the caption, or drop it"),
    "greyscale": Kind("warning", "picture", "loading makes it RGB; drop it if colour matters"),
    "CMYK": Kind("warning", "picture", "loading makes it RGB; look whether the colours are right"),
    "palette": Kind("warning", "picture", "loading makes it RGB; dither and banding stay"),
    "transparent": Kind("warning", "picture", "loading lays it over the background colour; look whether that is right"),
    "no caption": Kind("defect", "caption", "write one"),
    "no trigger": Kind("defect", "caption", "put a Trigger Word node behind the dataset"),
    "no colour words": Kind("advice", "caption", "name its colours, or append the measured ones"),
    "huge": Kind("advice", "picture", "nothing is lost by shrinking it first; it loads slowly"),
    "captions without colours": Kind("advice", "dataset", "name colours in captions, or append the measured ones"),
    "fused words": Kind("advice", "dataset", "vary them: they are learned as part of the trigger"),
    "mixed backgrounds": Kind("advice", "dataset", "make them one colour, or name them in the captions"),
    "few pictures": Kind("advice", "dataset", "add pictures, or train for fewer steps"),
    "little variety": Kind("advice", "dataset", "add other subjects"),
}

PICTURE_KINDS = tuple(name for name, kind in KINDS.items() if kind.of == "picture" and name != "unreadable")
CAPTION_KINDS = tuple(name for name, kind in KINDS.items() if kind.of == "caption")


@dataclass(frozen=True)
class Finding:
    """One thing that an audit found.

    kind: one of `KINDS`. name: of the file; "" when it is about the whole dataset. index: of the item, None when there
    is none. detail: what was measured.
    """

    kind: str
    name: str
    detail: str
    index: int | None = None

    @property
    def severity(self) -> Severity:
        """How serious it is."""
        return KINDS[self.kind].severity

    @property
    def fix(self) -> str:
        """What to do, in words."""
        return KINDS[self.kind].fix
