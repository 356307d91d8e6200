"""LATENT and CONDITIONING through functions of their items, keeping everything else that rides along."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from ..dataset.words import Words


def latent_items(latent: dict[str, Any]) -> list[Any]:
    """Return the tensors [C, ...] of a LATENT. Raises ValueError for one of several parts (picture and sound)."""
    samples = latent["samples"]
    if getattr(samples, "is_nested", False):
        raise ValueError(
            "latent: got one of several parts in one, such as video with sound, allowed is one tensor, "
            "take it apart with ComfyUI's nodes first"
        )
    return list(samples.unbind(0))


def changed_latent(latent: dict[str, Any], change: Callable[[Sequence[Any]], Iterator[Any]]) -> dict[str, Any]:
    """Return a LATENT whose items went through `change`; masks, batch numbers and all else stay."""
    items = list(change(latent_items(latent)))
    return {**latent, "samples": torch.stack(items) if items else latent["samples"].clone()}


def conditioning_items(conditioning: Sequence[Any]) -> list[Words]:
    """Return the text of every entry of a CONDITIONING and every place in its batch, in order."""
    return [
        Words(sequence, _pooled(extras, place))
        for tensor, extras in conditioning
        for place, sequence in enumerate(tensor.unbind(0))
    ]


def changed_conditioning(
    conditioning: Sequence[Any], change: Callable[[Sequence[Words]], Iterator[Words]]
) -> list[list[Any]]:
    """Return a CONDITIONING whose texts went through `change`; areas, masks, times and all else stay."""
    changed = iter(list(change(conditioning_items(conditioning))))
    return [_entry(tensor, extras, [next(changed) for _ in range(len(tensor))]) for tensor, extras in conditioning]


def _entry(tensor: Any, extras: dict[str, Any], texts: Sequence[Words]) -> list[Any]:
    sequence = torch.stack([text.sequence for text in texts]) if texts else tensor.clone()
    pooled = extras.get("pooled_output")
    if pooled is None or not texts:
        return [sequence, dict(extras)]
    # One vector may stand for a whole batch of sequences; the first text's is then the one.
    vectors = [text.pooled for text in texts[: len(pooled)]]
    return [sequence, {**extras, "pooled_output": torch.stack(vectors)}]


def _pooled(extras: dict[str, Any], place: int) -> Any:
    pooled = extras.get("pooled_output")
    return None if pooled is None else pooled[min(place, len(pooled) - 1)]
