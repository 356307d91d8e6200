"""A LORA_MODEL through one operation, and what became of it."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...dataset.seeds import generator
from ..registry import find_operation
from .layers import Layer, difference, norm
from .names import chosen, place
from .state import Lora, read_lora


@dataclass(frozen=True)
class BentLora:
    """tensors: a LORA_MODEL. report: what was done to it, in lines."""

    tensors: dict[str, Tensor]
    report: str


def bend_lora(
    tensors: Mapping[str, Tensor],
    operation: str,
    parameters: Mapping[str, Any],
    *,
    severity: float = 1.0,
    seed: int = 0,
    norm_match: bool = False,
    only_blocks: str = "",
    check: Callable[[], None] = lambda: None,
) -> BentLora:
    """Return a LORA_MODEL bent by an operation on "loras"; what comes in is not changed.

    only_blocks: a regular expression; layers it does not name are passed on bit for bit. norm_match: each bent layer
    gets its Frobenius norm back, so that structure and not strength is compared. At severity 0 every tensor is the one
    that came in. check: called before each layer, may raise to stop. Raises ValueError for other operations and values,
    and when the pattern names no layer.
    """
    found = find_operation(operation)
    if found.subject != "loras":
        raise ValueError(f"operation: got {operation!r}, allowed operations on loras, choose one of them")
    lora = read_lora(tensors)
    picked = Watched({name: layer for name, layer in lora.layers.items() if chosen(name, only_blocks)}, check)
    if not picked:
        raise ValueError(_nothing_to_bend(lora, only_blocks))
    require_finite(picked)
    bent = dict(found.apply(picked, generator(seed, operation, "lora"), severity, **dict(parameters)))
    if norm_match and severity:
        bent = {name: _matched(layer, picked[name]) for name, layer in bent.items()}
    head = f"{operation} at severity {severity:g}, seed {seed}{', norms matched' if norm_match else ''}."
    report = "\n".join([head, change_report(picked, bent, len(lora.layers)), lora.others_report()]).strip()
    return BentLora(lora.written({**lora.layers, **bent}), report)


class Watched(Mapping[str, Layer]):
    """Layers that call `check` each time that one of them is about to be looked at."""

    def __init__(self, layers: Mapping[str, Layer], check: Callable[[], None]) -> None:
        self._layers = layers
        self._check = check

    def __getitem__(self, name: str) -> Layer:
        return self._layers[name]

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[str]:
        for name in self._layers:
            self._check()
            yield name


def require_finite(layers: Mapping[str, Layer]) -> None:
    """Raise ValueError naming the first layer that has numbers which are none."""
    for name, layer in layers.items():
        parts = [part for part in (layer.up, layer.down, layer.mid) if part is not None]
        if not (math.isfinite(layer.scale) and all(part.float().isfinite().all() for part in parts)):
            allowed = "allowed finite ones, use an earlier checkpoint, or leave it out where there is only_blocks"
            raise ValueError(f"lora: got numbers in {name} that are not finite, {allowed}")


def _nothing_to_bend(lora: Lora, only_blocks: str) -> str:
    if not lora.layers:
        kinds = ", ".join(lora.others)
        return (
            f"lora: got adapters of another kind ({kinds}), allowed LoRAs of two factors a layer, connect one of these"
        )
    return no_layer(only_blocks, list(lora.layers))


def no_layer(only_blocks: str, names: list[str]) -> str:
    """Return what to say of a pattern that names none of these layers."""
    some = f"allowed patterns that name one of the {len(names)} layers, such as {place(names[0]).label}"
    return f"only_blocks: got {only_blocks!r}, which names no layer, {some} or part of {names[0]}, change it"


def _matched(layer: Layer, before: Layer) -> Layer:
    now, wanted = norm(layer), norm(before)
    return layer.times(wanted / now) if layer is not before and now > 0 else layer


def change_report(before: Mapping[str, Layer], after: Mapping[str, Layer], total: int) -> str:
    """Return the relative change ``||dW' - dW|| / ||dW||`` of all layers together and of each block, in lines.

    total: how many layers the LoRA has, bent or not. A layer of another shape than before counts as a new one.
    """
    blocks: dict[str, list[float]] = {}
    order: dict[str, tuple[str, tuple[int, int]]] = {}
    for name, layer in before.items():
        sums = blocks.setdefault(place(name).label, [0.0, 0.0])
        order[place(name).label] = (place(name).part, place(name).block)
        sums[0] += _changed(layer, after[name]) ** 2
        sums[1] += norm(layer) ** 2
    whole = [sum(column) for column in zip(*blocks.values(), strict=True)]
    lines = [f"Relative change {_relative(*whole)} over {len(before)} of {total} layers, by block:"]
    lines += [f"  {label}: {_relative(*blocks[label])}" for label in sorted(blocks, key=lambda label: order[label])]
    return "\n".join(lines)


def _changed(before: Layer, after: Layer) -> float:
    return difference(after, before) if after.shape == before.shape else math.hypot(norm(after), norm(before))


def _relative(changed: float, size: float) -> str:
    return f"{math.sqrt(changed / size):.3f}" if size else ("0.000" if not changed else "from nothing")
