"""What is in a LoRA, for people."""

from collections import Counter
from collections.abc import Mapping

from torch import Tensor

from .layers import norm
from .names import place
from .state import read_lora


def describe_lora(tensors: Mapping[str, Tensor]) -> str:
    """Return how many layers a LoRA has, of which ranks, and how strong it is in each block, in lines."""
    lora = read_lora(tensors)
    ranks = Counter(layer.rank for layer in lora.layers.values())
    told = ", ".join(f"{count} of rank {rank}" for rank, count in sorted(ranks.items()))
    lines = [f"{len(lora.layers)} layers{f' ({told})' if told else ''}. Frobenius norm by block:"]
    squares: dict[str, float] = {}
    order = {name: (place(name).part, place(name).block) for name in lora.layers}
    for name in sorted(lora.layers, key=lambda name: order[name]):
        label = place(name).label
        squares[label] = squares.get(label, 0.0) + norm(lora.layers[name]) ** 2
    lines += [f"  {label}: {square**0.5:.4g}" for label, square in squares.items()]
    return "\n".join([*lines, lora.others_report()]).strip()
