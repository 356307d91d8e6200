"""Several LoRAs into one, exactly: components are put beside one another, and only cut down where asked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from .bending import BentLora, Watched, change_report, no_layer, require_finite
from .layers import Layer, assembled, balanced, compressed, norm, singular
from .names import chosen, plain
from .state import Lora, read_lora

Method = Literal["weighted sum", "average", "orthogonal", "conflict only", "agreement only", "cross-graft"]
_ROUNDING = 1e-9  # what is smaller than this part of the largest is a rounding error


def blend_loras(
    loras: Sequence[Mapping[str, Tensor]],
    weights: Sequence[float],
    *,
    method: Method = "weighted sum",
    rank: int = 0,
    only_blocks: str = "",
    check: Callable[[], None] = lambda: None,
) -> BentLora:
    """Return one LORA_MODEL made of two or more; what comes in is not changed.

    weighted sum: the sum of weight times product, exactly. average: that divided by their number. orthogonal: of each
    LoRA only what writes to outputs that the ones before leave alone. conflict only, agreement only: of the weighted
    sum the parts in which the LoRAs pull in opposite directions, or in the same. cross-graft: outputs (up) of the
    second with the inputs (down) of the first, strongest component with strongest, times both weights.
    rank: cut each layer down to its best approximation of this rank, 0 keeps all. only_blocks: layers it does not name
    are the first LoRA's, as they are. A layer that only one LoRA has counts as zero in the others. Layers are the same
    when their names differ in prefix and dots only. check: called before each layer, may raise to stop. Raises
    ValueError for layers of one name and different shapes, for numbers that are not finite, and when only_blocks names
    no layer.
    """
    if len(loras) < 2 or len(loras) != len(weights):
        raise ValueError(f"loras: got {len(loras)} with {len(weights)} weights, allowed two or more, connect another")
    parts = [read_lora(tensors) for tensors in loras]
    by_name = [{plain(name): name for name in lora.layers} for lora in parts]
    _require_named(parts, only_blocks)
    first = parts[0]
    blended: dict[str, Layer] = {}
    for same in dict.fromkeys(same for names in by_name for same in names):
        owners = [names.get(same) for names in by_name]
        name = next(owner for owner in owners if owner)
        layers = [lora.layers[owner] if owner else None for lora, owner in zip(parts, owners, strict=True)]
        check()
        if chosen(name, only_blocks):
            for layer in filter(None, layers):
                require_finite({name: layer})
            blended |= _kept(name, _blend(name, layers, weights, method), rank)
        elif layers[0] is not None:
            blended[name] = layers[0]
    return BentLora(first.written(blended), _report(parts, by_name, weights, method, blended, check))


def extrapolate_loras(first: Mapping[str, Tensor], second: Mapping[str, Tensor], t: float, **settings: Any) -> BentLora:
    """Return ``first + t * (second - first)``: 0 the first, 1 the second, beyond that what lies further that way.

    settings: rank, only_blocks and check of `blend_loras`.
    """
    return blend_loras([first, second], [1 - t, t], **settings)


def _require_named(parts: Sequence[Lora], only_blocks: str) -> None:
    names = [name for lora in parts for name in lora.layers]
    if names and not any(chosen(name, only_blocks) for name in names):
        raise ValueError(no_layer(only_blocks, names))


def _kept(name: str, layer: Layer | None, rank: int) -> dict[str, Layer]:
    """Return the layer under its name, cut down to `rank`; nothing for one that does nothing."""
    if layer is None:
        return {}
    if 0 < rank < layer.rank:
        layer = layer.with_factors(*compressed(*layer.factors(), rank))
    return {name: layer}


def _blend(name: str, layers: Sequence[Layer | None], weights: Sequence[float], method: Method) -> Layer | None:
    there = [(layer, weight) for layer, weight in zip(layers, weights, strict=True) if layer is not None]
    shapes = {layer.shape for layer, _ in there}
    if len(shapes) > 1:
        raise ValueError(
            f"loras: got the layer {name} in the shapes {sorted(shapes)}, allowed LoRAs for models of one family, "
            "fit one of them with Transplant LoRA"
        )
    models = [layer for layer, _ in there]
    if method == "cross-graft":
        one, other = layers[0], layers[1]
        return None if one is None or other is None else _grafted(one, other, weights[0] * weights[1])
    pairs = [_scaled(layer, weight) for layer, weight in there]
    if method == "average":
        pairs = [(up / len(layers), down) for up, down in pairs]
    elif method == "orthogonal":
        pairs = _orthogonal(pairs)
    elif method != "weighted sum":
        if len(pairs) < 2:
            return None if method == "conflict only" else _joined(models, pairs)
        return _joined(models, [_shared(pairs, conflict=method == "conflict only")])
    return _joined(models, pairs)


def _scaled(layer: Layer, weight: float) -> tuple[Tensor, Tensor]:
    up, down = layer.factors()
    return up * (layer.scale * weight), down


def _joined(layers: Sequence[Layer], pairs: Sequence[tuple[Tensor, Tensor]]) -> Layer:
    """Return the sum of products as one layer: its rank is the sum of theirs, its scale 1.

    layers: what they came from; in the number format of them all, or in float32 when these differ.
    """
    formats = {layer.up.dtype for layer in layers}
    dtype = formats.pop() if len(formats) == 1 else torch.float32
    up, down = torch.cat([up for up, _ in pairs], dim=1), torch.cat([down for _, down in pairs])
    return assembled(up, down, layers[0].shape, dtype)


def _orthogonal(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Return the products, each without what it writes to the outputs of those before it (Gram and Schmidt)."""
    kept: list[tuple[Tensor, Tensor]] = []
    taken = pairs[0][0][:, :0]
    for up, down in pairs:
        rest = up - taken @ (taken.T @ up)
        kept.append((rest, down))
        taken = torch.cat((taken, _basis(rest, down)), dim=1)
    return kept


def _basis(up: Tensor, down: Tensor) -> Tensor:
    w, values, _ = singular(up, down)
    return w[:, values > _ROUNDING * values.amax()]


def _shared(pairs: Sequence[tuple[Tensor, Tensor]], conflict: bool) -> tuple[Tensor, Tensor]:
    """Return the part of a sum of products in which they differ in sign, or the part in which they do not.

    Looked at in the singular directions of the first, followed by those that only the others have.
    """
    left, _, right = singular(*pairs[0])
    left = _completed(left, torch.cat([up for up, _ in pairs], dim=1))
    right = _completed(right.T, torch.cat([down for _, down in pairs]).T)
    cores = torch.stack([(left.T @ up) @ (down @ right) for up, down in pairs])
    noise = _ROUNDING * cores.abs().amax()
    differ = (cores.amax(0) > noise) & (cores.amin(0) < -noise)
    return left @ (cores.sum(0) * (differ if conflict else ~differ)), right.T


def _completed(basis: Tensor, vectors: Tensor) -> Tensor:
    """Return an orthonormal basis that is `basis`, then as many more directions as reach all of `vectors`."""
    rest = vectors - basis @ (basis.T @ vectors)
    left, values, _ = torch.linalg.svd(rest, full_matrices=False)
    return torch.cat((basis, left[:, values > _ROUNDING * torch.linalg.norm(vectors)]), dim=1)


def _grafted(one: Layer, other: Layer, weight: float) -> Layer:
    """Return what reads as `one` does and writes as `other` does, as strong as the geometric mean of the two."""
    _, down = balanced(*_scaled(one, 1.0))
    up, _ = balanced(*_scaled(other, 1.0))
    count = min(up.shape[1], down.shape[0])
    layer = _joined([one, other], [(up[:, :count], down[:count])])
    size = norm(layer)
    return layer.times(weight * (norm(one) * norm(other)) ** 0.5 / size) if size else layer


def _report(
    parts: Sequence[Lora],
    by_name: Sequence[Mapping[str, str]],
    weights: Sequence[float],
    method: Method,
    blended: Mapping[str, Layer],
    check: Callable[[], None],
) -> str:
    shared = set.intersection(*(set(names) for names in by_name))
    told = ", ".join(f"{len(lora.layers)} layers x {weight:g}" for lora, weight in zip(parts, weights, strict=True))
    lines = [f"{method} of {len(parts)} LoRAs ({told}): {len(shared)} layers shared, {len(blended)} written."]
    if not shared:
        lines.append("Warning: the LoRAs have no layer in common: they are for other models, or their names differ.")
    base = Watched({name: layer for name, layer in parts[0].layers.items() if name in blended}, check)
    if base:
        lines.append("Compared with the first LoRA. " + change_report(base, blended, len(parts[0].layers)))
    dropped = [lora.others_report() for lora in parts[1:] if lora.others]
    lines += [parts[0].others_report(), *(text.replace("Passed on as they are", "Left out") for text in dropped)]
    return "\n".join(line for line in lines if line)
