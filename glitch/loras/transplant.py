"""A LoRA on a model it was not made for: each layer finds its nearest counterpart and is cut or stretched to fit."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import torch
from torch import Tensor

from .bending import BentLora, require_finite
from .layers import Layer, assembled
from .roles import Slot, slots
from .state import layer_tensors, read_lora, spelling_for

Fit = Literal["crop and pad", "tile", "interpolate", "exact only"]


@dataclass(frozen=True)
class Target:
    """The layers a model has. shapes: of their weights (out, in, kernel...), by the name a LoRA file calls them.

    known: every name under which the loader finds a layer -> its name in `shapes`.
    """

    shapes: Mapping[str, tuple[int, ...]]
    known: Mapping[str, str]


@dataclass
class _Count:
    """How many of the LoRA's layers came to which end."""

    exact: int = 0
    moved: int = 0
    resized: int = 0
    partly: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


def transplant_lora(
    tensors: Mapping[str, Tensor],
    target: Target,
    *,
    fit: Fit = "interpolate",
    keep_norm: bool = True,
    check: Callable[[], None] = lambda: None,
) -> BentLora:
    """Return a LORA_MODEL for the target's layers, and how many of the layers that came in found a place.

    A layer that the target knows by name, in its shape, stays as it is. Every other one looks for a free layer that
    does the same (attention queries, feed-forward, a block's convolution...) at the same relative depth, in the same
    part of the network if that has one. Its channels are then made to fit: crop and pad leaves out the last ones or
    adds zeros, tile repeats them, interpolate stretches them; kernels are cropped or padded around their centre.
    "exact only" moves and changes nothing. keep_norm: what was made to fit has the Frobenius norm it had. check: called
    before each layer that is made to fit, may raise to stop. Raises ValueError for numbers that are not finite in a
    layer that is moved.
    """
    lora = read_lora(tensors)
    count = _Count()
    written: dict[str, Tensor] = {}
    taken: set[str] = set()
    waiting: dict[str, Layer] = {}
    for name, layer in lora.layers.items():
        home = target.known.get(name)
        if home is not None and home not in taken and _same(layer.shape, target.shapes[home]):
            written |= lora.written({name: layer}, others=False)
            taken.add(home)
            count.exact += 1
        else:
            waiting[name] = layer
    if fit == "exact only":
        count.dropped["not in this model under this name and in this shape"] = len(waiting)
    else:
        require_finite(waiting)
        free = [slot for name, shape in target.shapes.items() if name not in taken for slot in slots(name, shape)]
        homes = _matched([slot for name, layer in waiting.items() for slot in slots(name, layer.shape)], free)
        _tally(waiting, homes, target, count)
        written |= _written(waiting, homes, target, fit, keep_norm, check)
    return BentLora(written, _report(count, len(lora.layers), lora.others_report()))


def _same(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Say whether a product fits a weight as it is; ComfyUI's trainer writes convolutions flat, [out, in * kernel]."""
    return shape == wanted or shape == (wanted[0], prod(wanted[1:]))


def _matched(sources: Sequence[Slot], free: Sequence[Slot]) -> dict[Slot, Slot]:
    """Return which slot of the target each source slot goes to, none to two: same role, near in depth."""
    homes: dict[Slot, Slot] = {}
    for role in dict.fromkeys(slot.role for slot in sources):
        wanting = sorted((slot for slot in sources if slot.role == role), key=lambda slot: slot.order)
        places = sorted((slot for slot in free if slot.role == role), key=lambda slot: slot.order)
        for part in dict.fromkeys(slot.part for slot in wanting):
            same = [slot for slot in places if slot.part == part]
            homes |= _spread([slot for slot in wanting if slot.part == part], same)
        left = [slot for slot in places if slot not in set(homes.values())]
        homes |= _spread([slot for slot in wanting if slot not in homes], left)
    return homes


def _spread(sources: Sequence[Slot], places: Sequence[Slot]) -> dict[Slot, Slot]:
    """Return the sources dealt out evenly over the places, in order; what has no place left stays out."""
    if len(sources) > len(places):
        sources = [sources[_even(index, len(places), len(sources))] for index in range(len(places))]
    chosen = [_even(index, len(sources), len(places)) for index in range(len(sources))]
    return {source: places[index] for source, index in zip(sources, chosen, strict=True)}


def _even(index: int, count: int, among: int) -> int:
    """Return the place of the index-th of `count` things spread from the first to the last of `among` places."""
    return index * (among - 1) // (count - 1) if count > 1 else 0


def _tally(waiting: Mapping[str, Layer], homes: Mapping[Slot, Slot], target: Target, count: _Count) -> None:
    roles = {slot.role for name, shape in target.shapes.items() for slot in slots(name, shape)}
    for name, layer in waiting.items():
        parts = list(slots(name, layer.shape))
        found = [slot for slot in parts if slot in homes]
        if not found:
            has = all(slot.role in roles for slot in parts)
            count.dropped["no place left" if has else f"no layer of this kind ({parts[0].role})"] += 1
        elif len(found) < len(parts):
            count.partly += 1
        elif all(homes[slot].shape == slot.shape for slot in found):
            count.moved += 1
        else:
            count.resized += 1


def _written(
    waiting: Mapping[str, Layer],
    homes: Mapping[Slot, Slot],
    target: Target,
    fit: Fit,
    keep_norm: bool,
    check: Callable[[], None],
) -> dict[str, Tensor]:
    pieces: dict[str, list[tuple[Tensor, Tensor]]] = {}
    dtypes: dict[str, torch.dtype] = {}
    for source, home in homes.items():
        check()
        layer, shape = waiting[source.name], target.shapes[home.name]
        pieces.setdefault(home.name, []).append(_piece(layer, source, home, shape, fit, keep_norm))
        dtypes[home.name] = layer.up.dtype
    written: dict[str, Tensor] = {}
    for name, parts in pieces.items():
        up, down = torch.cat([up for up, _ in parts], dim=1), torch.cat([down for _, down in parts])
        layer = assembled(up, down, target.shapes[name], dtypes[name])
        written |= layer_tensors(name, layer, spelling_for(name))
    return written


def _piece(
    layer: Layer, source: Slot, home: Slot, shape: tuple[int, ...], fit: Fit, keep_norm: bool
) -> tuple[Tensor, Tensor]:
    """Return the factors of a source slot, made to fit and put in its place in the target's weight of that shape."""
    up, down = layer.factors()
    up = up[slice(*source.rows)] * layer.scale
    down = down.reshape(layer.rank, *layer.shape[1:])[:, slice(*source.columns)]
    fitted_up = _fitted(up, 0, home.shape[0], fit)
    fitted_down = _kernel(_fitted(down, 1, home.shape[1], fit), home.kernel)
    if keep_norm:
        before, after = _size(up, down), _size(fitted_up, fitted_down)
        fitted_up = fitted_up * (before / after if after else 1.0)
    whole_up = up.new_zeros(shape[0], layer.rank)
    whole_up[slice(*home.rows)] = fitted_up
    whole_down = up.new_zeros(layer.rank, *shape[1:])
    whole_down[:, slice(*home.columns)] = fitted_down.reshape(layer.rank, *home.shape[1:])
    return whole_up, whole_down.flatten(1)


def _size(up: Tensor, down: Tensor) -> float:
    flat = down.flatten(1)
    return float(((up.T @ up) * (flat @ flat.T)).sum().clamp(min=0).sqrt())


def _fitted(factor: Tensor, dim: int, size: int, fit: Fit) -> Tensor:
    """Return a factor with `size` channels along `dim`."""
    now = factor.shape[dim]
    if now == size:
        return factor
    if fit == "tile":
        return factor.index_select(dim, torch.arange(size) % now)
    if fit == "interpolate":
        last = factor.movedim(dim, -1)
        flat = torch.nn.functional.interpolate(last.reshape(-1, 1, now), size, mode="linear", align_corners=False)
        return flat.reshape(*last.shape[:-1], size).movedim(-1, dim)
    kept = factor.narrow(dim, 0, min(now, size))
    zeros = [*factor.shape]
    zeros[dim] = size - kept.shape[dim]
    return torch.cat((kept, factor.new_zeros(zeros)), dim=dim)


def _kernel(down: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """Return `down` [r, in, ...] with another kernel around the same centre; none at all is one of size 1."""
    down = down if down.dim() > 2 or not kernel else down.reshape(*down.shape, *[1] * len(kernel))
    for dim, now in enumerate(down.shape[2:], start=2):
        wanted = kernel[dim - 2] if kernel else 1
        before = (wanted - now) // 2
        padding = [0, 0] * (down.dim() - 1 - dim) + [before, wanted - now - before]
        down = torch.nn.functional.pad(down, padding)
    return down


def _report(count: _Count, total: int, others: str) -> str:
    applied = count.exact + count.moved + count.resized + count.partly
    lines = [
        f"Applied {applied} of {total} layers: {count.exact} exact, {count.moved} moved to another layer of their "
        f"shape, {count.resized} resized, {count.partly} in part; {sum(count.dropped.values())} dropped."
    ]
    lines += [f"  dropped, {why}: {number}" for why, number in count.dropped.most_common() if number]
    return "\n".join([*lines, others.replace("Passed on as they are", "Left out")]).strip()
