"""What a dataset is, in lines of text for a person."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from .derived import Derived
from .sample import Step

if TYPE_CHECKING:
    from .dataset import Dataset

_SHOWN_CHAINS = 8
_SHOWN_LETTERS = 80  # of one setting
_NOT_SETTINGS = ("name", "version", "codecs", "pictures", "table")  # a table is told by a hash: nobody can read it


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
        *(["When loaded:", *dataset.notes] if dataset.notes else []),
    ]
    return "\n".join(lines)


def warnings(dataset: "Dataset") -> list[str]:
    """Return one line for each thing in the chain that works, but probably not as meant."""
    found = []
    if any(map(_is_softened, _chains(dataset))):
        found.append(
            "Warning: a corruption comes before the framing, so resizing will soften it. Frame first to keep it sharp."
        )
    enlarged = sum(_is_enlarged(dataset, index) for index in range(len(dataset)))
    if enlarged:
        found.append(f"Warning: {enlarged} picture(s) are smaller than their frame and are enlarged.")
    return found


def counted(count: int, thing: str) -> str:
    """Return a number and what is counted, e.g. "1 picture" or "2 pictures"."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _counts(dataset: "Dataset") -> str:
    copies = len(dataset) - len({item.key for item in dataset.items})
    same = f", {copies} of them {'an exact copy' if copies == 1 else 'exact copies'} of another" if copies else ""
    passes = f"; {len(dataset.entries)} per epoch with repeats" if len(dataset.entries) != len(dataset) else ""
    return f"{counted(len(dataset), 'picture')}{same}{passes}."


def _sizes(dataset: "Dataset") -> list[str]:
    counted = Counter(dataset.framed_size(index) for index in range(len(dataset)))
    chains = _chains(dataset).items()
    unframed = sum(count for chain, count in chains if all(step.kind != "framing" for step in chain))
    some = "" if unframed == len(dataset) else f"{unframed} of {len(dataset)} "
    title = f"Sizes ({some}not framed yet):" if unframed else "Framed to:"
    shown = [f"  {width}x{height}: {count}" for (width, height), count in counted.most_common(12)]
    rest = [f"  and {len(counted) - 12} other sizes"] if len(counted) > 12 else []
    return [title, *shown, *rest]


def _captions(dataset: "Dataset") -> str:
    lengths = sorted(len(dataset.caption(index).split()) for index in range(len(dataset)))
    empty = sum(length == 0 for length in lengths)
    alike = lengths[0] == lengths[-1]
    words = (
        f"{counted(lengths[0], 'word')} each"
        if alike
        else f"{lengths[0]} to {lengths[-1]} words, median {lengths[len(lengths) // 2]}"
    )
    return f"Captions: {words}; {empty} empty." if empty else f"Captions: {words}."


def _chains(dataset: "Dataset") -> Counter[tuple[Step, ...]]:
    """Return how many pictures went through each chain of steps, from their files on."""
    return Counter((*item.steps, *dataset.steps) for item in dataset.items)


def _chain(dataset: "Dataset") -> list[str]:
    chains = _chains(dataset)
    lines: list[str] = []
    for chain, count in list(chains.items())[:_SHOWN_CHAINS]:
        if chain or len(chains) > 1:
            whose = f" of {counted(count, 'picture')}" if len(chains) > 1 else ""
            lines.append(f"Steps{whose}, in order:" if chain else f"Steps{whose}: none.")
        lines += [f"  {number}. {_step(step.describe())}" for number, step in enumerate(chain, 1)]
    rest = len(chains) - _SHOWN_CHAINS
    return [*lines, f"and {rest} other chains of steps"] if rest > 0 else lines


def _is_softened(chain: tuple[Step, ...]) -> bool:
    """Say whether pictures are resized after they were damaged."""
    damaged = [step.kind == "corruption" and step.touches == "image" for step in chain]
    return True in damaged and any(step.kind == "framing" for step in chain[damaged.index(True) :])


def _step(values: dict[str, Any]) -> str:
    settings = _flat({key: value for key, value in values.items() if key not in _NOT_SETTINGS})
    return f"{values['name']}: {', '.join(settings)}" if settings else str(values["name"])


def _flat(values: dict[str, Any]) -> list[str]:
    """Return ``key value`` pairs, those of nested objects among them; texts with blanks at an end in quotes.

    Empty texts are left out, longer ones shown on one line and cut.
    """
    pairs: list[str] = []
    for key, value in values.items():
        if isinstance(value, dict):
            pairs += _flat(value)
        elif value != "":
            pairs.append(f"{key} {_shown(value)}")
    return pairs


def _shown(value: Any) -> str:
    if not isinstance(value, str):
        return repr(value)
    text = " / ".join(line.strip() for line in value.splitlines() if line.strip()) if "\n" in value else value
    text = text if text and text == text.strip() else repr(text)
    return text if len(text) <= _SHOWN_LETTERS else f"{text[: _SHOWN_LETTERS - 1]}…"


def _is_enlarged(dataset: "Dataset", index: int) -> bool:
    item = dataset.items[index]
    before, after = item.size, dataset.framed_size(index)
    earlier = isinstance(item, Derived) and _is_enlarged(item.dataset, item.index)
    return earlier or after[0] > before[0] or after[1] > before[1]
