"""Random numbers by purpose, and global generators left alone."""

import os
import random

import numpy as np
import pytest
import torch
from glitch_lora.training.randomness import (
    deterministic_kernels,
    normal,
    preserved_generators,
    seeded,
    uniform,
)


def test_numbers_are_a_function_of_seed_and_purpose(unchanged_random_state: None) -> None:
    assert torch.equal(normal((2, 3), 0, "noise", 1), normal((2, 3), 0, "noise", 1))
    assert not torch.equal(normal((2, 3), 0, "noise", 1), normal((2, 3), 0, "noise", 2))
    assert not torch.equal(normal((2, 3), 0, "noise", 1), normal((2, 3), 1, "noise", 1))
    draws = uniform(10_000, 0, "sigma")
    assert 0 <= draws.min() and draws.max() < 1 and abs(float(draws.mean()) - 0.5) < 0.02


def test_library_code_draws_from_the_purpose(unchanged_random_state: None) -> None:
    with seeded(0, "dropout", 1):
        first = torch.rand(3)
    with seeded(0, "dropout", 1):
        assert torch.equal(torch.rand(3), first)


def test_generators_are_restored_after_an_error(unchanged_random_state: None) -> None:
    with pytest.raises(KeyError), preserved_generators():
        random.random(), np.random.rand(), torch.rand(1)
        torch.manual_seed(5)
        raise KeyError


def test_deterministic_kernels_are_scoped() -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    with pytest.raises(KeyError), deterministic_kernels(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()  # a warning would leave attention as it is
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
        raise KeyError
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    assert (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark) == before
