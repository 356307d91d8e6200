"""What a layer does in its block, in the same words for every family, so that one family's layers find another's.

Layers that are several in one are taken apart: FLUX's `qkv` is three layers by its outputs, `linear1` of a single
block these three and a feed-forward layer, `linear2` two layers by its inputs.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .names import place, plain

_Q, _K, _V = "self q", "self k", "self v"
_ROLES: tuple[tuple[str, str], ...] = (
    (r"attn1_(?:processor_)?to_([qkv])$", r"self \1"),
    (r"attn1_(?:processor_)?to_out(?:_0)?$", "self out"),
    (r"attn2_(?:processor_)?to_([qkv])$", r"cross \1"),
    (r"attn2_(?:processor_)?to_out(?:_0)?$", "cross out"),
    (r"txt_attn_qkv$", "cross qkv"),
    (r"attn_(?:to_)?qkv$", "self qkv"),
    (r"attn_to_([qkv])$", r"self \1"),
    (r"attn_add_([qkv])_proj$", r"cross \1"),
    (r"(?:txt_attn_proj|attn_to_add_out)$", "cross out"),
    (r"(?:attn_proj|attn_to_out(?:_0)?)$", "self out"),
    (r"(?:txt_mlp_0|ff_context_net_0_proj)$", "text ff in"),
    (r"(?:txt_mlp_2|ff_context_net_2)$", "text ff out"),
    (r"(?:img_mlp_0|ff_net_0_proj|proj_mlp)$", "ff in"),
    (r"(?:img_mlp_2|ff_net_2)$", "ff out"),
    (r"single_blocks_\d+_linear1$", "linear1"),
    (r"single_(?:transformer_)?blocks_\d+_(?:linear2|proj_out)$", "linear2"),
    (r"(?:txt_mod_lin|norm1_context_linear)$", "text modulation"),
    (r"(?:img_mod_lin|modulation_lin|norm1?_linear|emb_layers_1|time_emb_proj)$", "modulation"),
    (r"(?:in_layers_2|conv1)$", "conv in"),
    (r"(?:out_layers_3|conv2)$", "conv out"),
    (r"(?:skip_connection|conv_shortcut)$", "skip"),
    (r"(?:_op|downsamplers_0_conv)$", "down"),
    (r"output_blocks_\d+_\d+_conv$|upsamplers_0_conv$", "up"),
    (r"proj_in$", "proj in"),
    (r"proj_out$", "proj out"),
)
_PART_ORDER = ("text", "other", "input", "middle", "output")


@dataclass(frozen=True)
class Slot:
    """A layer or a part of one: its outputs `rows` and its inputs `columns`, as (start, stop), and what it does."""

    name: str
    role: str
    rows: tuple[int, int]
    columns: tuple[int, int]
    kernel: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight's part."""
        return (self.rows[1] - self.rows[0], self.columns[1] - self.columns[0], *self.kernel)

    @property
    def part(self) -> str:
        """The part of the network it is in."""
        return place(self.name).part

    @property
    def order(self) -> tuple[object, ...]:
        """Sorts slots from the network's beginning to its end."""
        numbers = [int(number) for number in re.findall(r"\d+", re.sub(r"attn\d|conv\d|linear\d", "", self.name))]
        return (_PART_ORDER.index(self.part), *numbers, self.rows, self.columns)


def slots(name: str, shape: tuple[int, ...]) -> Iterator[Slot]:
    """Yield a layer's slots. shape: (out, in, kernel...) of its weight."""
    out, inside, *kernel = shape
    role = _role(name)
    if role in ("self qkv", "cross qkv") and out % 3 == 0:
        for index, letter in enumerate("qkv"):
            rows = (index * out // 3, (index + 1) * out // 3)
            yield Slot(name, f"{role.split()[0]} {letter}", rows, (0, inside))
    elif role == "linear1" and out > 3 * inside:
        for index, part in enumerate((_Q, _K, _V)):
            yield Slot(name, part, (index * inside, (index + 1) * inside), (0, inside))
        yield Slot(name, "ff in", (3 * inside, out), (0, inside))
    elif role == "linear2" and inside > out:
        yield Slot(name, "self out", (0, out), (0, out))
        yield Slot(name, "ff out", (0, out), (out, inside))
    else:
        yield Slot(name, role, (0, out), (0, inside), tuple(kernel))


def _role(name: str) -> str:
    """Return a layer's role; a text encoder's layers and unknown ones by the end of their name."""
    flat = plain(name)
    if place(name).part == "text":
        return "text encoder " + re.split(r"layers?_\d+_", flat)[-1]
    for pattern, role in _ROLES:
        if found := re.search(pattern, flat):
            return found.expand(role)
    return re.sub(r"\d+", "#", flat)
