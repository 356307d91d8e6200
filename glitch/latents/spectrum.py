"""Frequencies of latents cut, boosted, or out of step."""

import numpy as np

from ..registry import Parameter, operation
from .arrays import on_array


@operation(
    "latent spectrum",
    Parameter(
        "mode",
        "cut highs",
        "cut or boost what is finer (highs) or coarser (lows) than the cutoff; phase noise: waves out of step",
        choices=("cut highs", "cut lows", "boost highs", "boost lows", "phase noise"),
    ),
    Parameter("cutoff", 0.25, "Where high frequencies begin: 1 is a wave of two cells", 0, 1, 0.01),
    Parameter("gain", 4.0, "Amplitude of boosted frequencies, times their own", 1, 16, 0.1),
    Parameter("phase", 0.5, "How far waves get out of step in phase noise; 1 is anywhere", 0, 1, 0.05),
    subject="latents",
)
@on_array
def latent_spectrum(
    latent: np.ndarray,
    rng: np.random.Generator,
    severity: float,
    *,
    mode: str,
    cutoff: float,
    gain: float,
    phase: float,
) -> np.ndarray:
    """A filter on the latent's frequencies: blurred content in sharp pixels, lattices, or a picture fallen to pieces.

    Severity is how much of the filter there is. The mean of each channel stays.
    """
    size = latent.shape[-2:]
    spectrum = np.fft.rfft2(latent)
    drawn = np.angle(np.fft.rfft2(rng.standard_normal(latent.shape)))
    if mode == "phase noise":
        drawn[..., 0, 0] = 0
        response = np.exp(1j * severity * phase * drawn)
    else:
        response = 1 + severity * (_response(size, mode, cutoff, gain) - 1)
    return np.fft.irfft2(spectrum * response, s=size).astype(np.float32)


def _response(size: tuple[int, ...], mode: str, cutoff: float, gain: float) -> np.ndarray:
    """Return the gain of each frequency [height, width // 2 + 1]."""
    height, width = size
    frequency = 2 * np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    chosen = frequency > cutoff if mode.endswith("highs") else frequency <= cutoff
    chosen[0, 0] = False
    return np.where(chosen, 0.0 if mode.startswith("cut") else gain, 1.0)
