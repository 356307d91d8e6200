"""LoRA files as layers and back: every spelling of the two factors that ComfyUI reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, tensor

from .layers import Layer

# (up, down, mid) behind a layer's name, in the order ComfyUI tries them.
_SPELLINGS = (
    (".lora_up.weight", ".lora_down.weight", ".lora_mid.weight"),
    ("_lora.up.weight", "_lora.down.weight", ""),
    (".lora_B.weight", ".lora_A.weight", ""),
    (".lora.up.weight", ".lora.down.weight", ""),
    (".lora_B", ".lora_A", ""),
    (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight", ""),
    (".lora_B.default.weight", ".lora_A.default.weight", ""),
)
# What makes an adapter something else than the product of two factors, and what people call it.
_KINDS = {
    ".lokr_": "LoKr",
    ".hada_": "LoHa",
    ".oft_": "OFT",
    ".a1.": "GLoRA",
    ".a2.": "GLoRA",
    ".b1.": "GLoRA",
    ".b2.": "GLoRA",
    ".dora_scale": "DoRA",
    ".reshape_weight": "reshaped",
    ".diff": "whole weights",
    ".set_weight": "set weights",
    ".w_norm": "norms",
    ".b_norm": "norms",
}


@dataclass(frozen=True)
class Lora:
    """A LORA_MODEL taken apart. layers: by name, as in the file. spelling: how each name's factors are called.

    tensors: everything that came in. others: the keys that belong to no layer, by what they are.
    """

    layers: dict[str, Layer]
    spelling: dict[str, tuple[str, str, str]]
    tensors: Mapping[str, Tensor]
    others: dict[str, list[str]] = field(default_factory=dict)

    def written(self, layers: Mapping[str, Layer], others: bool = True) -> dict[str, Tensor]:
        """Return the tensors with `layers` in place of these; those that are the same objects keep their very bits.

        A name that is not among `layers` is left out; what belongs to no layer is passed on as it came, if `others`.
        """
        passed = {key: self.tensors[key] for keys in self.others.values() for key in keys if others}
        for name, layer in layers.items():
            passed |= self._unchanged(name) if layer is self.layers.get(name) else self._changed(name, layer)
        return passed

    def _unchanged(self, name: str) -> dict[str, Tensor]:
        keys = [name + suffix for suffix in (*self.spelling[name], ".alpha") if suffix]
        return {key: self.tensors[key] for key in keys if key in self.tensors}

    def _changed(self, name: str, layer: Layer) -> dict[str, Tensor]:
        return layer_tensors(name, layer, self.spelling.get(name, _SPELLINGS[0]))

    def others_report(self) -> str:
        """Return what was not bent, in words, or ""."""
        parts = [f"{kind}: {len(keys)} keys ({keys[0]})" for kind, keys in self.others.items()]
        return f"Passed on as they are: {'; '.join(parts)}." if parts else ""


def layer_tensors(name: str, layer: Layer, spelling: tuple[str, str, str] = _SPELLINGS[0]) -> dict[str, Tensor]:
    """Return the tensors of one layer in a file, without a middle factor, and without alpha where it has none."""
    up, down, _ = spelling
    if layer.mid is not None:
        layer = layer.with_factors(*layer.factors())
    found = {name + up: layer.up, name + down: layer.down}
    if layer.alpha is not None:
        found[f"{name}.alpha"] = tensor(float(layer.alpha))
    return found


def spelling_for(name: str) -> tuple[str, str, str]:
    """Return how the factors are called in a file with such names: kohya's way, or that of names with dots."""
    return _SPELLINGS[2] if "." in name else _SPELLINGS[0]


def read_lora(tensors: Mapping[str, Tensor]) -> Lora:
    """Return a LORA_MODEL's layers. Adapters that are no product of two factors are kept beside them, by kind.

    Raises ValueError when there is no tensor at all.
    """
    if not tensors:
        raise ValueError("lora: got no tensors, allowed a LoRA with at least one layer, connect another one")
    layers: dict[str, Layer] = {}
    spelling: dict[str, tuple[str, str, str]] = {}
    strange = _strange_names(tensors)
    for key in tensors:
        for words in _SPELLINGS:
            name = key.removesuffix(words[0])
            if name == key or name in strange or name in layers:
                continue
            layer = _layer(tensors, name, words)
            if layer is not None:
                layers[name], spelling[name] = layer, words
    return Lora(layers, spelling, tensors, _others(tensors, layers, spelling))


def _strange_names(tensors: Mapping[str, Tensor]) -> set[str]:
    """Return the names of layers whose factors are not all there is: DoRA's scale, a reshaped weight."""
    return {
        key.removesuffix(word) for key in tensors for word in (".dora_scale", ".reshape_weight") if key.endswith(word)
    }


def _layer(tensors: Mapping[str, Tensor], name: str, words: tuple[str, str, str]) -> Layer | None:
    up, down = tensors[name + words[0]], tensors.get(name + words[1])
    mid = tensors.get(name + words[2]) if words[2] else None
    if down is None or not _fits(up, down, mid):
        return None
    alpha = tensors.get(f"{name}.alpha")
    return Layer(down, up, None if alpha is None else float(alpha.item()), mid)


def _fits(up: Tensor, down: Tensor, mid: Tensor | None) -> bool:
    plain = up.is_floating_point() and down.is_floating_point() and up.dim() >= 2 and down.dim() >= 2
    if not plain or up.shape[2:].numel() != 1 or up.shape[1] == 0:
        return False
    if mid is not None:
        rank = down.shape[0]
        return mid.dim() == 4 and down.shape[2:].numel() == 1 and mid.shape[:2] == (rank, rank) and up.shape[1] == rank
    return up.shape[1] == down.shape[0]


def _others(
    tensors: Mapping[str, Tensor], layers: Mapping[str, Layer], spelling: Mapping[str, tuple[str, str, str]]
) -> dict[str, list[str]]:
    taken = {name + suffix for name in layers for suffix in (*spelling[name], ".alpha") if suffix}
    odd = [key for key in tensors if key not in taken]
    by_name = {key.rsplit(".alpha", 1)[0]: kind for key in odd if (kind := _kind(key))}
    found: dict[str, list[str]] = {}
    for key in odd:
        kind = _kind(key) or next((kind for name, kind in by_name.items() if name.startswith(_stem(key))), "unknown")
        found.setdefault(kind, []).append(key)
    return found


def _stem(key: str) -> str:
    for up, down, mid in _SPELLINGS:
        for suffix in (up, down, mid, ".alpha"):
            if suffix and key.endswith(suffix):
                return f"{key.removesuffix(suffix)}."
    return f"{key}."


def _kind(key: str) -> str:
    return next((kind for word, kind in _KINDS.items() if word in key), "")
