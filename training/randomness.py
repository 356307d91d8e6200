"""Random numbers that are a function of what they are for, and generators left as they were found."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from ..dataset.seeds import derive_seed

_CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def seeded(seed: int, *purpose: object) -> Iterator[None]:
    """Let code that reads torch's global generators (initialisers, dropout) draw from (seed, purpose) here.

    The generators of the CPU and of every CUDA device are as before afterwards, also after an error or interrupt.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derive_seed(seed, *purpose))
        yield


@contextmanager
def preserved_generators() -> Iterator[None]:
    """Leave torch's, CUDA's, NumPy's and Python's global generators as they are, whatever runs inside."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def normal(shape: tuple[int, ...], seed: int, *purpose: object) -> Tensor:
    """Return standard normal fp32 noise on the CPU, so that every device trains on the same numbers."""
    return torch.randn(shape, generator=_generator(seed, *purpose))


def uniform(count: int, seed: int, *purpose: object) -> Tensor:
    """Return `count` draws from [0, 1), fp32, on the CPU."""
    return torch.rand(count, generator=_generator(seed, *purpose))


def _generator(seed: int, *purpose: object) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))


@contextmanager
def deterministic_kernels(enabled: bool) -> Iterator[None]:
    """While `enabled`, let torch use deterministic kernels only; its settings are as before afterwards.

    An operation that has none raises RuntimeError naming it: torch's attention would otherwise only warn and differ
    from run to run. The CPU's kernels are deterministic anyway.
    """
    if not enabled:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, workspace = torch.backends.cudnn.benchmark, os.environ.get(_CUBLAS_WORKSPACE)
    try:
        os.environ.setdefault(_CUBLAS_WORKSPACE, ":4096:8")  # without it cuBLAS may add in another order
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            del os.environ[_CUBLAS_WORKSPACE]
