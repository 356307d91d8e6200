"""Bytes as sound, the way an audio editor opens raw data, and back."""

from functools import cache

import numpy as np

FORMATS = ("unsigned 8 bit", "signed 16 bit", "mu-law", "A-law")
_FULL = 32768


def samples_of(octets: np.ndarray, form: str) -> np.ndarray:
    """Return the bytes as samples -1..1 in float32; an odd byte at the end of 16-bit data is left out."""
    if form == "unsigned 8 bit":
        return (octets.astype(np.float32) - 127.5) / 127.5
    if form == "signed 16 bit":
        return octets[: len(octets) // 2 * 2].view("<i2").astype(np.float32) / _FULL
    return (_expansion(form) / _FULL).astype(np.float32)[octets]


def octets_of(samples: np.ndarray, form: str, before: np.ndarray) -> np.ndarray:
    """Return samples as bytes, clipped to what the format holds; what they do not cover stays as it was `before`."""
    if form == "unsigned 8 bit":
        return np.clip(np.round(samples * 127.5 + 127.5), 0, 255).astype(np.uint8)
    words = np.clip(np.round(samples * _FULL), -_FULL, _FULL - 1).astype("<i2")
    if form == "signed 16 bit":
        return np.concatenate([words.view(np.uint8), before[2 * len(words) :]])
    return _compression(form)[words.view("<u2")]


@cache
def _expansion(form: str) -> np.ndarray:
    """Return the 16-bit value of each of the 256 codes of ITU-T G.711; the two zeros of mu-law differ by 1."""
    codes = np.arange(256) ^ (0xFF if form == "mu-law" else 0x55)
    exponent, mantissa = codes >> 4 & 7, codes & 15
    if form == "mu-law":
        size = ((2 * mantissa + 33) << (exponent + 2)) - 132
        values = np.where(codes & 0x80, -size, size)
        values[0x7F] = -1  # minus zero; as zero it could not be told from the other one
        return values
    size = np.where(exponent == 0, 16 * mantissa + 8, (16 * mantissa + 264) << np.maximum(exponent - 1, 0))
    return np.where(codes & 0x80, size, -size)


@cache
def _compression(form: str) -> np.ndarray:
    """Return the nearest code to each 16-bit value, by the value's bits read as an unsigned number."""
    values = _expansion(form)
    order = np.argsort(values)
    middles = (values[order][1:] + values[order][:-1]) / 2
    words = np.arange(2 * _FULL, dtype="<u2").view("<i2")
    return order[np.searchsorted(middles, words)].astype(np.uint8)
