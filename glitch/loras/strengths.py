"""A strength for each part of the network, from below 0 (turned around) to several times."""

from collections.abc import Mapping

import numpy as np

from ..registry import Parameter, operation
from .layers import Layer
from .names import Kind, Part, chosen, place


def _strength(name: str, default: float, where: str) -> Parameter:
    return Parameter(name, default, f"strength of {where}", -4.0, 4.0, 0.05)


@operation(
    "strength",
    _strength("input_blocks", 0.0, "the blocks on the way in (UNet down blocks, FLUX double blocks)"),
    _strength("middle_block", 1.0, "the middle block"),
    _strength("output_blocks", 2.0, "the blocks on the way out (UNet up blocks, FLUX single blocks)"),
    _strength("text_encoder", 1.0, "the text encoder"),
    _strength("attention", 1.0, "attention layers, times that of their block"),
    _strength("feed_forward", 1.0, "feed-forward layers, times that of their block"),
    _strength("convolution", 1.0, "convolutions and projections, times that of their block"),
    Parameter("pattern", "", "a regular expression over layer names, for one more strength; empty for none"),
    _strength("pattern_strength", 0.0, "layers that the pattern names, times the others"),
    subject="loras",
    draws=False,
)
def lora_block_weights(
    layers: Mapping[str, Layer],
    rng: np.random.Generator,
    severity: float,
    *,
    input_blocks: float,
    middle_block: float,
    output_blocks: float,
    text_encoder: float,
    attention: float,
    feed_forward: float,
    convolution: float,
    pattern: str,
    pattern_strength: float,
) -> dict[str, Layer]:
    """Multiplies each layer by a strength for its block and one for its kind."""
    parts: dict[Part, float] = {
        "input": input_blocks,
        "middle": middle_block,
        "output": output_blocks,
        "text": text_encoder,
    }
    kinds: dict[Kind, float] = {"attention": attention, "feed-forward": feed_forward, "convolution": convolution}

    def strength(name: str) -> float:
        where = place(name)
        named = pattern_strength if pattern.strip() and chosen(name, pattern, "pattern") else 1.0
        return parts.get(where.part, 1.0) * kinds.get(where.kind, 1.0) * named

    factors = {name: 1 + severity * (strength(name) - 1) for name in layers}
    return {name: layer if factors[name] == 1 else layer.times(factors[name]) for name, layer in layers.items()}
