"""Latents and conditionings without a dataset: a batch, each with its own damage."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..dataset.words import Words
from .batch import KeyedBy, corrupted_values


def corrupted_latents(
    latents: Sequence[Any],
    operation: str,
    parameters: Mapping[str, Any],
    severity: float = 1.0,
    seed: int = 0,
    keyed_by: KeyedBy = "content",
    strangers: Sequence[Any] = (),
) -> Iterator[Any]:
    """Yield each latent [C, h, w] (or as `on_array` takes it) corrupted, as if it had come alone.

    Operations that look at others see `strangers`, or without them the batch. keyed_by: "content" gives equal latents
    equal damage wherever they stand, "number" gives each place its own. Raises ValueError as `Operation.apply`.
    """
    keys = [tensors_key(latent) for latent in latents]
    return corrupted_values(latents, keys, operation, parameters, severity, seed, keyed_by, strangers)


def corrupted_words(
    texts: Sequence[Words],
    operation: str,
    parameters: Mapping[str, Any],
    severity: float = 1.0,
    seed: int = 0,
    keyed_by: KeyedBy = "content",
    strangers: Sequence[Words] = (),
) -> Iterator[Words]:
    """Yield each text's conditioning corrupted, as `corrupted_latents` does with latents."""
    keys = [tensors_key(text.sequence, text.pooled) for text in texts]
    return corrupted_values(texts, keys, operation, parameters, severity, seed, keyed_by, strangers)


def tensors_key(*tensors: Any) -> str:
    """Return the SHA-256 (hex) of shapes and float32 values; None stands for a tensor that is not there."""
    digest = hashlib.sha256()
    for tensor in tensors:
        if tensor is None:
            digest.update(b"none")
            continue
        digest.update(repr(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
