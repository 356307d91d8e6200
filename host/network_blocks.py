"""The blocks of a network in words that hold for every family, and choosing some of them."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

Layers = Literal["all", "input", "middle", "output", "pattern"]
_TO_THE_END = -1


@dataclass(frozen=True)
class Choice:
    """Which blocks: by part of the network with numbers from `first` to `last` (-1: to the end), or by a pattern."""

    layers: Layers = "all"
    first: int = 0
    last: int = _TO_THE_END
    pattern: str = ""


def network_blocks(network: nn.Module) -> dict[str, tuple[str, int]]:
    """Return the network's blocks in order: module path -> (input, middle or output; number in that part).

    Of a UNet: its down, middle and up blocks. Of FLUX and its like: double-stream blocks as input, single-stream blocks
    as output. Of other transformers: the thirds of their stack. Raises ValueError for a network without blocks.
    """
    lists = {name: child for name, child in network.named_children() if isinstance(child, nn.ModuleList)}
    if isinstance(getattr(network, "middle_block", None), nn.Module) and {"input_blocks", "output_blocks"} <= set(
        lists
    ):
        found = {f"input_blocks.{number}": ("input", number) for number in range(len(lists["input_blocks"]))}
        found["middle_block"] = ("middle", 0)
        return found | {f"output_blocks.{number}": ("output", number) for number in range(len(lists["output_blocks"]))}
    if "double_blocks" in lists:
        parts = {"double_blocks": "input", "single_blocks": "output"}
        named = ((name, part, lists[name]) for name, part in parts.items() if name in lists)
        return {f"{name}.{number}": (part, number) for name, part, blocks in named for number in range(len(blocks))}
    stacks = [name for name in lists if re.search(r"blocks|layers", name)]
    if not stacks:
        raise ValueError(f"model: got a {type(network).__name__}, allowed UNets and transformers, connect one of them")
    stack = max(stacks, key=lambda name: len(lists[name]))
    return _in_thirds(stack, len(lists[stack]))


def _in_thirds(stack: str, count: int) -> dict[str, tuple[str, int]]:
    parts = [
        "input" if 3 * index < count else "middle" if 3 * index < 2 * count else "output" for index in range(count)
    ]
    return {f"{stack}.{index}": (part, index - parts.index(part)) for index, part in enumerate(parts)}


def chosen_blocks(model: Any, choice: Choice) -> tuple[str, ...]:
    """Return the paths of the chosen blocks. Raises ValueError when the pattern is none, or nothing is chosen."""
    blocks = network_blocks(model.get_model_object("diffusion_model"))
    last = choice.last if choice.last >= 0 else len(blocks)
    try:
        wanted = re.compile(choice.pattern if choice.layers == "pattern" else "")
    except re.error as error:
        raise ValueError(
            f"pattern: got {choice.pattern!r} ({error}), allowed a regular expression, correct it"
        ) from error
    parts = {part for part, _ in blocks.values()} if choice.layers in ("all", "pattern") else {choice.layers}
    found = [path for path, (part, number) in blocks.items() if part in parts and choice.first <= number <= last]
    found = [path for path in found if wanted.search(path)]
    if not found:
        has = f"allowed blocks of this model: {', '.join(blocks)}"
        if 0 <= choice.last < choice.first:
            has = f"where first ({choice.first}) is larger than last ({choice.last}), {has}"
        raise ValueError(
            f"layers: got {choice.layers} {choice.pattern or (choice.first, choice.last)}, {has}, change it"
        )
    return tuple(found)
