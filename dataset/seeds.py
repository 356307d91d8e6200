"""Randomness as a pure function of what it is for.

Nothing in the pack draws from a global generator. Every random choice names its purpose, and the purpose is its seed.
"""

import hashlib

import numpy as np


def derive_seed(seed: int, *purpose: object) -> int:
    """Return a 63-bit seed that depends on `seed` and on every part of `purpose`, in order.

    Parts are compared by ``repr``, so pass strings and numbers. Seed 0 is an ordinary seed.
    """
    text = repr((int(seed), *purpose)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def generator(seed: int, *purpose: object) -> np.random.Generator:
    """Return a NumPy generator seeded by `derive_seed`."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *purpose)))
