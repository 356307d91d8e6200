"""Analogue video: composite colour, magnetic tape, and the lines of a screen."""

import numpy as np
from PIL import Image

from ..registry import Parameter, operation
from .pixels import from_yiq, to_yiq
from .tearing import shifted_rows

# Cycles across the picture that a tape keeps: bandwidths of 2.4, 1.9 and 1.4 MHz (luma) and of 320, 300 and 280 kHz
# (colour) in the 52.66 microseconds of a line of NTSC.
_TAPES = {"SP": (126.0, 16.9), "LP": (100.0, 15.8), "EP": (74.0, 14.7)}


@operation(
    "video",
    Parameter("luma_cutoff", 0.16, "Brightness detail that is kept: 0.5 all", 0.05, 0.5, 0.01, "cycles/px"),
    Parameter("chroma_cutoff", 0.025, "Colour detail that is kept: 0.5 all", 0.01, 0.5, 0.005, "cycles/px"),
    Parameter("chroma_delay", 8, "How far the colour lags to the right", 0, 32, unit="px"),
    Parameter(
        "crosstalk", 0.8, "How much colour and brightness are taken for each other: dots and rainbows", 0, 1, 0.01
    ),
    Parameter("carrier", 4.0, "Period of the colour signal, seen as dots", 2, 16, 0.1, "px"),
    Parameter("phase_noise", 30.0, "Standard deviation of each line's hue", 0, 90, 0.5, "degrees"),
    Parameter("chroma_loss", 0.08, "Part of the lines that has no colour", 0, 1, 0.01),
    Parameter("luma_noise", 12.0, "Standard deviation of snow, of 255", 0, 80, 0.5),
    Parameter("ringing", 1.0, "Ghost edges beside edges", 0, 4, 0.05),
    tag="ntsc",
    measured_by="distance",
    codecs=("scipy",),
)
def composite_video(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    luma_cutoff: float,
    chroma_cutoff: float,
    chroma_delay: int,
    crosstalk: float,
    carrier: float,
    phase_noise: float,
    chroma_loss: float,
    luma_noise: float,
    ringing: float,
) -> Image.Image:
    """Composite video: NTSC with colour that bleeds, lags and crawls in dots.

    Severity scales all of it; cut-offs come down from 0.5 on a logarithmic scale. Colour is modulated on a carrier
    that starts every line in the opposite phase, as quadrature components of the YIQ signal.
    """
    luma, *chroma = to_yiq(image)
    rows = len(luma)
    turns, losses = rng.standard_normal(rows), rng.random(rows)
    snow = rng.standard_normal(luma.shape, np.float32)
    wave = _carrier(luma.shape, carrier)
    luma, chroma = _mixed(luma, chroma, wave, severity * crosstalk)
    luma = _low_passed(luma, _at(severity, luma_cutoff))
    luma = luma + severity * (luma_noise * snow + ringing * _rung(luma, luma_cutoff))
    colour = [_delayed(_low_passed(one, _at(severity, chroma_cutoff)), severity * chroma_delay) for one in chroma]
    colour = _turned(colour, severity * np.deg2rad(phase_noise) * turns, losses >= severity * chroma_loss)
    return from_yiq(np.stack([luma, *colour]).astype(np.float32))


@operation(
    "video",
    Parameter("speed", "LP", "Tape speed: the slower (EP), the softer", choices=("SP", "LP", "EP")),
    Parameter("head_switching", 0.03, "Torn band at the bottom, as part of the height", 0, 0.2, 0.005),
    Parameter("tracking", 2, "Bands of noise where the head missed the track", 0, 10),
    Parameter("dropouts", 30, "White streaks where the tape lost its coating", 0, 500),
    Parameter("edge_wave", 0.012, "How far lines sway, as part of the width", 0, 0.1, 0.001),
    Parameter("noise", 12.0, "Standard deviation of the noise, of 255; that of colour is twice this", 0, 80, 0.5),
    Parameter("sharpening", 1.5, "How much the player exaggerates edges", 0, 8, 0.1),
    tag="vhs",
    measured_by="chroma_noise",
    codecs=("scipy",),
)
def vhs_tape(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    speed: str,
    head_switching: float,
    tracking: int,
    dropouts: int,
    edge_wave: float,
    noise: float,
    sharpening: float,
) -> Image.Image:
    """VHS tape: soft and swaying, with streaks, noise bands and a torn bottom.

    Severity scales all of it; dropouts are added one by one. Bandwidths are those of a recorder, and of a whole line:
    a small picture loses colour only, as it would on a small part of the screen.
    """
    width, height = image.size
    planes = to_yiq(image)
    luma_cycles, chroma_cycles = (cycles / width for cycles in _TAPES[speed])
    luma = _low_passed(planes[0], _at(severity, luma_cycles))
    soft = _low_passed(luma, min(0.25, luma_cycles / 2))
    planes[0] = luma + np.float32(severity * sharpening) * (luma - soft)
    for one in (1, 2):
        planes[one] = _low_passed(planes[one], _at(severity, chroma_cycles))
    bands = _bands(height, tracking, rng)
    planes += _tape_noise(planes.shape, bands, noise, severity, rng)
    _drop_out(planes[0], dropouts, severity, rng)
    sway = _sway(height, rng) * edge_wave + bands * 0.1 + _head(height, head_switching, rng)
    pixels = np.asarray(from_yiq(planes))
    return Image.fromarray(shifted_rows(pixels, np.rint(severity * sway * width).astype(int), "clamp"))


@operation(
    "video",
    Parameter("period", 4, "From one dark line to the next", 2, 64, unit="px"),
    Parameter("duty", 0.5, "Part of a period that is dark", 0, 1, 0.01),
    Parameter("darkness", 0.7, "How dark the lines are: 1 black", 0, 1, 0.01),
    Parameter("field_offset", 0, "How far every other row is moved: the comb of interlaced motion", 0, 32, unit="px"),
    tag="scan",
    measured_by="line_index",
    draws=False,
)
def scan_lines(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    period: int,
    duty: float,
    darkness: float,
    field_offset: int,
) -> Image.Image:
    """Scan lines: the dark lines of a screen, and combing where two fields differ.

    Severity scales the darkness and the field offset.
    """
    rows = np.arange(image.height)
    dark = rows % period >= period - max(round(duty * period), 1 if duty else 0)
    light = 1 - severity * darkness * dark
    pixels = np.rint(np.asarray(image) * light[:, None, None].astype(np.float32)).astype(np.uint8)
    offset = round(severity * field_offset)
    return Image.fromarray(shifted_rows(pixels, np.where(rows % 2, offset, 0), "clamp") if offset else pixels)


def _at(severity: float, cutoff: float) -> float:
    """Return the cut-off frequency on the way from 0.5 cycles per pixel, which keeps everything."""
    return 0.5 * (min(cutoff, 0.5) / 0.5) ** severity


def _low_passed(plane: np.ndarray, cutoff: float) -> np.ndarray:
    """Return rows through a second-order Butterworth filter: late as in a circuit, and at rest where a row begins."""
    if cutoff > 0.49:
        return plane
    from scipy.signal import butter, sosfilt, sosfilt_zi

    sections = butter(2, 2 * cutoff, output="sos")
    rest = sosfilt_zi(sections)[:, None, :] * plane[None, :, :1]
    return sosfilt(sections.astype(np.float32), plane, axis=1, zi=rest.astype(np.float32))[0]


def _rung(plane: np.ndarray, cutoff: float) -> np.ndarray:
    """Return what a resonance near the cut-off frequency makes of rows: waves that die away after an edge."""
    from scipy.signal import iirpeak, lfilter

    numerator, denominator = iirpeak(min(2 * cutoff, 0.9) / 2, 3)
    centred = plane - plane[:, :1]
    return lfilter(numerator.astype(np.float32), denominator.astype(np.float32), centred, axis=1)


def _carrier(shape: tuple[int, ...], period: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosine and the sine of the colour carrier, turned over from line to line."""
    sides = np.where(np.arange(shape[0]) % 2, -1, 1)[:, None]
    angle = 2 * np.pi * np.arange(shape[1]) / period
    return (sides * np.cos(angle)).astype(np.float32), (sides * np.sin(angle)).astype(np.float32)


def _mixed(
    luma: np.ndarray, chroma: list[np.ndarray], wave: tuple[np.ndarray, np.ndarray], amount: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return luma with the modulated colour left in, and colours with demodulated luma detail added."""
    detail = luma - _low_passed(luma, 0.06)
    dots = sum(one * part for one, part in zip(chroma, wave, strict=True))
    rainbows = [one + np.float32(2 * amount) * detail * part for one, part in zip(chroma, wave, strict=True)]
    return luma + np.float32(amount) * dots, rainbows


def _delayed(plane: np.ndarray, delay: float) -> np.ndarray:
    return shifted_rows(plane, np.full(len(plane), round(delay)), "clamp")


def _turned(chroma: list[np.ndarray], angles: np.ndarray, there: np.ndarray) -> list[np.ndarray]:
    """Return colours with each line's hue turned by an angle, and no colour where it is not there."""
    across, up = ((there * part(angles)).astype(np.float32)[:, None] for part in (np.cos, np.sin))
    first, second = chroma
    return [first * across - second * up, first * up + second * across]


def _bands(height: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return for each row how far it is inside a tracking band, 0..1."""
    centres, spans = rng.random((count, 1)), rng.uniform(0.02, 0.06, (count, 1))
    distance = np.abs((np.arange(height) + 0.5) / height - centres) / spans
    return np.clip(1 - distance, 0, 1).max(0, initial=0)


def _tape_noise(
    shape: tuple[int, ...], bands: np.ndarray, noise: float, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Return noise for luma and colour that is smeared along the rows, and far stronger in tracking bands."""
    _, height, width = shape
    spread = np.maximum(width // 160, 1) * np.array([1, 4, 4])
    smeared = []
    for smear in spread.tolist():
        coarse = rng.standard_normal((height, -(-width // smear)), np.float32)
        smeared.append(np.repeat(coarse, smear, 1)[:, :width])
    sigma = strength * (np.array([[noise], [2 * noise], [2 * noise]]) + np.array([[90], [30], [30]]) * bands)
    return np.stack(smeared) * sigma.astype(np.float32)[..., None]


def _drop_out(luma: np.ndarray, count: int, severity: float, rng: np.random.Generator) -> None:
    """Draw the first of `count` white streaks into luma, each as long as 1 to 10 % of a row."""
    height, width = luma.shape
    thickness = max(1, round(height / 480))
    for down, right, length in rng.random((count, 3))[: round(severity * count)].tolist():
        row, column = int(down * height), int(right * width)
        last = column + max(1, round((0.01 + 0.09 * length) * width))
        luma[row : row + thickness, column:last] = 255


def _sway(height: int, rng: np.random.Generator) -> np.ndarray:
    """Return how far each row sways, about -1..1: two slow waves and a tremble."""
    periods, phases = rng.uniform([0.3, 0.05], [1.0, 0.15])[:, None], rng.random((2, 1))
    waves = np.sin(2 * np.pi * (np.arange(height) / height / periods + phases))
    return 0.5 * waves[0] + 0.25 * waves[1] + 0.15 * rng.standard_normal(height)


def _head(height: int, part: float, rng: np.random.Generator) -> np.ndarray:
    """Return how far the rows below the head switch are bent, up to about a fifth of the width at the bottom."""
    below = np.clip(np.arange(height) - (1 - part) * height + 1, 0, None) / max(part * height, 1)
    return 0.2 * below**1.5 * (1 + 0.2 * rng.standard_normal(height))
