"""What a dataset is, in lines of text for a person."""

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dataset import Dataset


def describe_dataset(dataset: "Dataset") -> str:
    """Return counts, sizes after framing, captions, the chain and its warnings, and the loading notes."""
    if not dataset.items:
        return "No pictures."
    lines = [
        _counts(dataset),
        *_sizes(dataset),
        _captions(dataset),
        *_chain(dataset),
        *warnings(dataset),
        *dataset.notes,
    ]
    return "\n".join(lines)


def warnings(dataset: "Dataset") -> list[str]:
    """Return one line for each thing in the chain that works, but probably not as meant."""
    kinds = [step.kind for step in dataset.steps]
    found = []
    if "corruption" in kinds and "framing" in kinds[kinds.index("corruption") :]:
        found.append(
            "Warning: a corruption comes before the framing, so resizing will soften it. Frame first to keep it sharp."
        )
    enlarged = sum(_is_enlarged(dataset, index) for index in range(len(dataset)))
    if enlarged:
        found.append(f"Warning: {enlarged} picture(s) are smaller than their frame and are enlarged.")
    return found


def _counts(dataset: "Dataset") -> str:
    copies = len(dataset) - len({item.key for item in dataset.items})
    same = f", {copies} of them exact copies of another" if copies else ""
    passes = f"; {len(dataset.entries)} per epoch with repeats" if len(dataset.entries) != len(dataset) else ""
    return f"{len(dataset)} pictures{same}{passes}."


def _sizes(dataset: "Dataset") -> list[str]:
    counted = Counter(dataset.framed_size(index) for index in range(len(dataset)))
    framed = any(step.kind == "framing" for step in dataset.steps)
    title = "Framed to:" if framed else "Sizes (not framed yet):"
    shown = [f"  {width}x{height}: {count}" for (width, height), count in counted.most_common(12)]
    rest = [f"  and {len(counted) - 12} other sizes"] if len(counted) > 12 else []
    return [title, *shown, *rest]


def _captions(dataset: "Dataset") -> str:
    lengths = sorted(len(dataset.caption(index).split()) for index in range(len(dataset)))
    empty = sum(length == 0 for length in lengths)
    words = f"{lengths[0]} to {lengths[-1]} words, median {lengths[len(lengths) // 2]}"
    return f"Captions: {words}; {empty} empty." if empty else f"Captions: {words}."


def _chain(dataset: "Dataset") -> list[str]:
    if not dataset.steps:
        return []
    return [
        "Steps, in order:",
        *(f"  {number}. {_step(step.describe())}" for number, step in enumerate(dataset.steps, 1)),
    ]


def _step(values: dict[str, Any]) -> str:
    settings = _flat({key: value for key, value in values.items() if key not in ("name", "version", "codecs")})
    return f"{values['name']}: {', '.join(settings)}"


def _flat(values: dict[str, Any]) -> list[str]:
    """Return ``key value`` pairs, those of nested objects among them; texts with blanks at an end in quotes."""
    pairs: list[str] = []
    for key, value in values.items():
        if isinstance(value, dict):
            pairs += _flat(value)
        else:
            text = value if isinstance(value, str) and value == value.strip() else repr(value)
            pairs.append(f"{key} {text}")
    return pairs


def _is_enlarged(dataset: "Dataset", index: int) -> bool:
    before, after = dataset.items[index].size, dataset.framed_size(index)
    return after[0] > before[0] or after[1] > before[1]
