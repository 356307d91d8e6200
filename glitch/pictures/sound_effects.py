"""Effects of an audio editor, on one long row of samples."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_BLOCKS = 192  # a moving filter stands still within each of so many parts of the sound
_COMBS = (1.0, 1.17, 1.41)
_CRUSHED_LEVELS = 3
_LATE = 1 / 20  # of the delay: a whole row too late is a shear right across the picture


@dataclass(frozen=True)
class Knobs:
    """delay: in samples, 1 or more. feedback: 0..1. sweeps: of the slow oscillator over all the sound.
    phase: of it, radians. cutoff: as a part of the highest frequency there is, 0..1."""

    delay: int
    feedback: float
    sweeps: float
    phase: float
    cutoff: float

    def oscillator(self, count: int) -> np.ndarray:
        """Return the slow oscillator, 0..1, at `count` moments."""
        angles = np.linspace(0, 2 * np.pi * self.sweeps, count, endpoint=False, dtype=np.float32)
        return (np.sin(angles + np.float32(self.phase)) + 1) / 2


def _echo(sound: np.ndarray, knobs: Knobs) -> np.ndarray:
    return _delayed(sound, knobs.delay, [1.0], [1.0, -knobs.feedback])


def _reverb(sound: np.ndarray, knobs: Knobs) -> np.ndarray:
    """Return the mean of echoes of different delays, thickened by an all-pass (Schroeder 1962)."""
    delays = [max(1, round(knobs.delay * ratio)) for ratio in _COMBS]
    echoes = np.sum([_delayed(sound, delay, [1.0], [1.0, -knobs.feedback]) for delay in delays], axis=0)
    loud = 2 * (1 - knobs.feedback) / len(delays)
    return loud * _delayed(echoes, max(1, knobs.delay // 3), [-0.7, 1.0], [1.0, -0.7])


def _phaser(sound: np.ndarray, knobs: Knobs) -> np.ndarray:
    """Return the sound plus itself through four all-passes of the first order whose frequency is swept."""

    def stages(sweep: float) -> tuple[np.ndarray, np.ndarray]:
        pole = -0.95 * (1 - sweep * (1 - knobs.cutoff))
        return _power([pole, 1.0]), _power([1.0, pole])

    return (sound + _moving(sound, knobs, stages)) / 2


def _wah(sound: np.ndarray, knobs: Knobs) -> np.ndarray:
    """Return what a swept resonance lets through, twice as loud."""
    from scipy.signal import iirpeak

    def peak(sweep: float) -> tuple[np.ndarray, np.ndarray]:
        return iirpeak(min(0.95, knobs.cutoff * (0.3 + 1.7 * sweep)), 1.0)

    return 2 * _moving(sound, knobs, peak)


def _flanger(sound: np.ndarray, knobs: Knobs) -> np.ndarray:
    """Return the sound plus itself after a delay that swells and shrinks."""
    behind = (knobs.oscillator(len(sound)) * knobs.delay).astype(np.int32)
    return (sound + sound[np.arange(len(sound), dtype=np.int32) - behind]) / 2


def _tremolo(sound: np.ndarray, knobs: Knobs) -> np.ndarray:
    return sound * (1.2 - 1.2 * knobs.oscillator(len(sound)))


def _bit_crush(sound: np.ndarray, knobs: Knobs) -> np.ndarray:
    """Return the sound with a few levels, each sample held for as long as the cutoff says."""
    held = np.repeat(sound[:: _period(knobs)], _period(knobs))[: len(sound)]
    return np.round(held * _CRUSHED_LEVELS) / _CRUSHED_LEVELS


def _normalise(sound: np.ndarray, knobs: Knobs) -> np.ndarray:
    """Return each stretch of the length of the delay centred and made as loud as can be."""
    stretches = _stretches(sound, knobs.delay)
    centred = stretches - stretches.mean(1, keepdims=True)
    return (centred / np.maximum(np.abs(centred).max(1, keepdims=True), 1e-3)).reshape(-1)[: len(sound)]


def _reverse(sound: np.ndarray, knobs: Knobs) -> np.ndarray:
    """Return each stretch of the length of the delay backwards."""
    return _stretches(sound, knobs.delay)[:, ::-1].reshape(-1)[: len(sound)]


def _resample(sound: np.ndarray, knobs: Knobs) -> np.ndarray:
    """Return the sound played slower, so that at the end it is late by a twentieth of the delay."""
    speed = 1 - _LATE * knobs.delay / len(sound)
    moments = np.arange(len(sound)) * speed
    before = moments.astype(np.int32)
    after = np.minimum(before + 1, len(sound) - 1)
    return sound[before] + (moments - before).astype(np.float32) * (sound[after] - sound[before])


def _low_pass(sound: np.ndarray, knobs: Knobs) -> np.ndarray:
    return _filtered(sound, knobs.cutoff, "lowpass")


def _high_pass(sound: np.ndarray, knobs: Knobs) -> np.ndarray:
    return _filtered(sound, knobs.cutoff, "highpass")


def _band_pass(sound: np.ndarray, knobs: Knobs) -> np.ndarray:
    return 2 * _filtered(sound, [knobs.cutoff / 2, min(0.98, knobs.cutoff * 2)], "bandpass")


def _filtered(sound: np.ndarray, cutoff: float | list[float], kind: str) -> np.ndarray:
    from scipy.signal import butter, sosfilt

    return sosfilt(butter(2, cutoff, kind, output="sos"), sound)


def _delayed(sound: np.ndarray, delay: int, numerator: list[float], denominator: list[float]) -> np.ndarray:
    """Return the sound through a filter whose unit of time is `delay` samples."""
    from scipy.signal import lfilter

    coefficients = [np.array(side, np.float32) for side in (numerator, denominator)]
    return lfilter(*coefficients, _stretches(sound, delay), axis=0).reshape(-1)[: len(sound)]


def _moving(sound: np.ndarray, knobs: Knobs, design: Callable[[float], tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the sound through a filter that is designed anew for each block, from the oscillator's place in it."""
    from scipy.signal import lfilter

    sweeps = knobs.oscillator(_BLOCKS)
    blocks, state = [], None
    for block, sweep in zip(np.array_split(sound, _BLOCKS), sweeps, strict=True):
        numerator, denominator = design(float(sweep))
        if state is None:
            state = np.zeros(len(denominator) - 1)
        if len(block):
            filtered, state = lfilter(numerator, denominator, block, zi=state)
            blocks.append(filtered)
    return np.concatenate(blocks)


def _power(first_order: list[float]) -> np.ndarray:
    squared = np.convolve(first_order, first_order)
    return np.convolve(squared, squared)


def _stretches(sound: np.ndarray, length: int) -> np.ndarray:
    """Return the sound as rows of a length, the last one filled up with silence."""
    return np.pad(sound, (0, -len(sound) % length)).reshape(-1, length)


def _period(knobs: Knobs) -> int:
    return max(1, round(1 / knobs.cutoff))


EFFECTS: dict[str, Callable[[np.ndarray, Knobs], np.ndarray]] = {
    "echo": _echo,
    "reverb": _reverb,
    "phaser": _phaser,
    "flanger": _flanger,
    "wah": _wah,
    "tremolo": _tremolo,
    "bit-crush": _bit_crush,
    "normalise": _normalise,
    "reverse": _reverse,
    "resample": _resample,
    "low-pass": _low_pass,
    "high-pass": _high_pass,
    "band-pass": _band_pass,
}
