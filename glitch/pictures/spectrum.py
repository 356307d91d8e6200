"""Damage to frequencies: the picture as a sum of waves, with the sum done wrong."""

import numpy as np
from PIL import Image, ImageOps

from ..context import Context
from ..registry import Parameter, operation
from .pixels import rounded


@operation(
    "frequencies",
    Parameter("amount", 150, "How far the phase of a wave is moved at most", 0, 180, unit="degrees"),
    Parameter("spared", 3, "Waves of up to so many cycles across the picture stay in place", 0, 200, unit="cycles"),
    tag="phase",
    measured_by="distance",
    codecs=("scipy",),
)
def phase_noise(
    image: Image.Image, rng: np.random.Generator, severity: float, *, amount: int, spared: int
) -> Image.Image:
    """Phase noise: every wave slides out of place; forms dissolve into the texture they were made of.

    Severity scales `amount`. All channels move alike, so that colours stay together.
    """
    from scipy import fft

    shape = (image.height, image.width)
    random = np.angle(fft.rfft2(rng.standard_normal(shape, np.float32)))
    moves = np.where(_cycles(shape) > spared, np.float32(severity * amount / 180) * random, 0)
    turned = np.exp(np.complex64(1j) * moves.astype(np.float32))
    return _summed([spectrum * turned for spectrum in _spectra(image)], shape)


@operation(
    "frequencies",
    Parameter("part", "amplitudes", "What is taken over from the other picture", choices=("amplitudes", "phases")),
    Parameter("amount", 1.0, "How much of it is taken over", 0.0, 1.0, 0.05),
    tag="spectrum",
    measured_by="distance",
    wants_context=True,
    codecs=("scipy",),
)
def amplitude_swap(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    context: Context,
    part: str,
    amount: float,
) -> Image.Image:
    """Amplitude swap: the waves of one picture with the strengths of another's; its light and grain haunt the forms.

    The other is drawn from the dataset; alone, the picture itself on its side. Severity scales `amount`; between,
    strengths are mixed as logarithms and phases as directions.
    """
    shape, share = (image.height, image.width), np.float32(severity * amount)
    other = context.stranger(rng)
    other = image.transpose(Image.Transpose.ROTATE_90) if other is None else other.convert("RGB")
    other = ImageOps.fit(other, image.size, Image.Resampling.BILINEAR)
    spectra = zip(_spectra(image), _spectra(other), strict=True)
    mix = _with_strength if part == "amplitudes" else _with_phase
    return _summed([mix(own, foreign, share) for own, foreign in spectra], shape)


@operation(
    "frequencies",
    Parameter("peaks", 3, "Waves added", 0, 16),
    Parameter("frequency", 20.0, "Their typical fineness", 0.5, 400.0, 0.5, "cycles"),
    Parameter("strength", 0.6, "Their strength together; 1 is from black to white", 0.0, 3.0, 0.05),
    Parameter(
        "notch", 0.0, "Width of the band of waves around that fineness that is removed", 0.0, 4.0, 0.1, "octaves"
    ),
    Parameter("colour", 0.5, "How much the waves differ between red, green and blue", 0.0, 1.0, 0.05),
    tag="lattice",
    measured_by="spectral_peak",
    codecs=("scipy",),
)
def spectral_peaks(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    peaks: int,
    frequency: float,
    strength: float,
    notch: float,
    colour: float,
) -> Image.Image:
    """Spectral peaks: a few waves far too strong; lattices and weaves lie over everything.

    Severity scales `strength`, and how much of the notch is removed.
    """
    shape = (image.height, image.width)
    waves = _lattice(rng, shape, peaks, frequency, colour)
    pixels = _notched(image, frequency, notch, severity) if notch else np.asarray(image)
    return rounded(pixels + np.float32(255 * severity * strength / max(1.0, peaks**0.5)) * waves)


def _spectra(image: Image.Image) -> list[np.ndarray]:
    from scipy import fft

    return [fft.rfft2(np.asarray(channel, np.float32)) for channel in image.split()]


def _summed(spectra: list[np.ndarray], shape: tuple[int, int]) -> Image.Image:
    from scipy import fft

    return rounded(np.stack([fft.irfft2(spectrum, s=shape) for spectrum in spectra], axis=-1))


def _cycles(shape: tuple[int, int]) -> np.ndarray:
    """Return the frequency of each place of a real spectrum, in cycles across the picture."""
    down, across = np.fft.fftfreq(shape[0], 1 / shape[0]), np.fft.rfftfreq(shape[1], 1 / shape[1])
    return np.hypot(down[:, None], across).astype(np.float32)


def _with_strength(own: np.ndarray, foreign: np.ndarray, share: np.float32) -> np.ndarray:
    """Return a spectrum with its strengths moved towards another's; the mean stays."""
    one = np.float32(1)
    ratio = (np.abs(foreign) + one) / (np.abs(own) + one)
    ratio[0, 0] = 1
    return own * ratio**share


def _with_phase(own: np.ndarray, foreign: np.ndarray, share: np.float32) -> np.ndarray:
    """Return a spectrum with its phases moved towards another's; the mean stays."""
    tiny = np.float32(1e-6)
    strength = np.abs(own)
    towards = (1 - share) * own / (strength + tiny) + share * foreign / (np.abs(foreign) + tiny)
    turned = strength * towards / (np.abs(towards) + tiny)
    turned[0, 0] = own[0, 0]
    return turned


def _lattice(
    rng: np.random.Generator, shape: tuple[int, int], peaks: int, frequency: float, colour: float
) -> np.ndarray:
    """Return a sum of waves, each -0.5..0.5, of shape (height, width, 3)."""
    total = np.zeros((*shape, 3), np.float32)
    y, x = (np.arange(length)[:, None] / length for length in shape)
    for _ in range(peaks):
        direction, finer = rng.uniform(0, np.pi), 2 ** rng.uniform(-0.5, 0.5)
        phases = rng.uniform(0, 1) + colour * rng.uniform(-0.5, 0.5, 3)
        down, right = (
            min(frequency * finer * abs(part), 0.45 * length) * np.sign(part)
            for part, length in zip((np.sin(direction), np.cos(direction)), shape, strict=True)
        )
        along, across = 2 * np.pi * down * y[:, None], 2 * np.pi * (right * x + phases)
        total += (np.cos(along) * np.cos(across) - np.sin(along) * np.sin(across)).astype(np.float32) / 2
    return total


def _notched(image: Image.Image, frequency: float, octaves: float, severity: float) -> np.ndarray:
    """Return the pixels without the waves that are within half of the octaves of a frequency; the mean stays."""
    shape = (image.height, image.width)
    cycles = _cycles(shape)
    removed = (np.abs(np.log2(np.maximum(cycles, 1e-3) / frequency)) <= octaves / 2) & (cycles > 0)
    kept = (1 - severity * removed).astype(np.float32)
    return np.asarray(_summed([spectrum * kept for spectrum in _spectra(image)], shape))
