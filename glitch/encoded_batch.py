"""Latents and conditionings without a dataset: a batch, each with its own damage."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

from ..dataset.seeds import generator
from ..dataset.words import Words
from .batch import KeyedBy
from .context import Context
from .registry import find_operation


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
    return _corrupted(latents, keys, operation, parameters, severity, seed, keyed_by, strangers)


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
    return _corrupted(texts, keys, operation, parameters, severity, seed, keyed_by, strangers)


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


def _corrupted(
    values: Sequence[Any],
    keys: Sequence[str],
    operation: str,
    parameters: Mapping[str, Any],
    severity: float,
    seed: int,
    keyed_by: KeyedBy,
    strangers: Sequence[Any],
) -> Iterator[Any]:
    if keyed_by not in get_args(KeyedBy):
        raise ValueError(f"keyed_by: got {keyed_by!r}, allowed {list(get_args(KeyedBy))}, choose one of them")
    found = find_operation(operation)
    for number, value in enumerate(values):
        rng = generator(seed, operation, keys[number] if keyed_by == "content" else number)
        company = _company(values, keys, number, strangers)
        context = Context(*company, shared=_shared(seed, operation))
        yield found.apply(value, rng, severity, context, **parameters)


def _company(
    values: Sequence[Any], keys: Sequence[str], number: int, strangers: Sequence[Any]
) -> tuple[Sequence[Any], int]:
    """Return (others, place of the value among them), in an order of content."""
    if strangers:
        return [values[number], *strangers], 0
    order = sorted(range(len(values)), key=lambda place: (keys[place], place))
    return [values[place] for place in order], order.index(number)


def _shared(seed: int, operation: str) -> Callable[[], Any]:
    return lambda: generator(seed, operation, "shared")
