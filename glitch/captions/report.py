"""What a caption operation did, in words."""

from typing import TYPE_CHECKING

from ..registry import find_operation
from ..step import Corruption

if TYPE_CHECKING:
    from ...dataset.dataset import Dataset

_LONGEST = 160


def _hints(before: "Dataset", after: "Dataset", changed: int) -> list[str]:
    """Return why the last step of `after` changed nothing, where that is known, and what it does to tags before it."""
    step = after.steps[-1] if len(after.steps) > len(before.steps) else None
    if not isinstance(step, Corruption):
        return []
    why = "" if changed else _why_nothing(step, before)
    moved = _moves_tags(step, before) and (
        f"Note: {step.name} stands behind glitch_tags, so tags move to pictures that were not damaged. "
        "Place glitch_tags behind it."
    )
    return [line for line in (why and f"Hint: {why}", moved) if line]


def _why_nothing(step: Corruption, before: "Dataset") -> str:
    """Return the known reason why a step left every caption as it was; "" when there is none."""
    if not before.items:
        return ""
    if not step.fraction or not (step.severity or step.severity_jitter):
        return "severity or fraction is 0, raise it."
    samples = [before.marked(index) for index in range(len(before))]
    if step.name == "glitch_tags" and not any(sample.damage for sample in samples):
        return "no picture was damaged before this node, place it behind Corrupt Dataset."
    if step.name == "trigger_corruption":
        tags = {find_operation(name).tag for sample in samples for name, _ in sample.damage}
        if not any(set(sample.triggers) - tags for sample in samples):
            return "no caption has a trigger word, place a Trigger Word node before this one."
    if step.name == "false_captions" and len(before) == 1 and not dict(step.parameters).get("scenes"):
        return "one picture has no other caption to take, add pictures or write scenes."
    return ""


def _moves_tags(step: Corruption, before: "Dataset") -> bool:
    """Say whether a step hands captions round that hold the tags of their own pictures."""
    lent = {"false_captions": "scenes", "caption_collapse": "text"}.get(step.name)
    own_text = str(dict(step.parameters).get(lent or "", "")).strip()
    chains = (before.steps, *(item.steps for item in before.items))
    return bool(lent) and not own_text and any(link.name == "glitch_tags" for chain in chains for link in chain)


def describe_change(before: "Dataset", after: "Dataset", examples: int = 3) -> str:
    """Return how many captions differ between two chains over the same items, and a few of them before and after.

    When none differs, a line says why, where that is known.
    """
    pairs = [(before.caption(index), after.caption(index)) for index in range(len(before))]
    changed = [index for index, (old, new) in enumerate(pairs) if old != new]
    lines = [f"Captions changed: {len(changed)} of {len(before)}"]
    for index in changed[:examples]:
        old, new = pairs[index]
        lines += [f"{before.items[index].name}:", f"  before: {_short(old)}", f"  after:  {_short(new)}"]
    return "\n".join([*lines, *_hints(before, after, len(changed))])


def _short(caption: str) -> str:
    """Return the caption on one line with what the eye does not see written as escapes, cut when long."""
    line = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in caption)
    return (line[: _LONGEST - 1] + "…" if len(line) > _LONGEST else line) or "(empty)"
