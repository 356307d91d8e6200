"""What a caption operation did, in words."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...dataset.dataset import Dataset

_LONGEST = 160


def describe_change(before: "Dataset", after: "Dataset", examples: int = 3) -> str:
    """Return how many captions differ between two chains over the same items, and a few of them before and after."""
    pairs = [(before.caption(index), after.caption(index)) for index in range(len(before))]
    changed = [index for index, (old, new) in enumerate(pairs) if old != new]
    lines = [f"Captions changed: {len(changed)} of {len(before)}"]
    for index in changed[:examples]:
        old, new = pairs[index]
        lines += [f"{before.items[index].name}:", f"  before: {_short(old)}", f"  after:  {_short(new)}"]
    return "\n".join(lines)


def _short(caption: str) -> str:
    """Return the caption on one line with what the eye does not see written as escapes, cut when long."""
    line = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in caption)
    return (line[: _LONGEST - 1] + "…" if len(line) > _LONGEST else line) or "(empty)"
