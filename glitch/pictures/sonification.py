"""Pictures opened in an audio editor."""

import numpy as np
from PIL import Image

from ..registry import Parameter, operation
from .samples import FORMATS, octets_of, samples_of
from .sound_effects import EFFECTS, Knobs


@operation(
    "databending",
    Parameter("effect", "echo", "What is done to the sound", choices=tuple(EFFECTS)),
    Parameter(
        "samples",
        "unsigned 8 bit",
        "How bytes are taken for sound; in the last three a small change can be a leap of brightness",
        choices=FORMATS,
    ),
    Parameter(
        "delay",
        0.0514,
        "Echo, reverb, flanger, resample: how far behind it is; reverse, normalise: how long a stretch is",
        0.0,
        0.5,
        0.0001,
        "of the picture",
    ),
    Parameter("feedback", 0.7, "Echo, reverb: how much of it comes again", 0.0, 0.95, 0.01),
    Parameter("sweeps", 5.0, "Phaser, flanger, wah, tremolo: how often it swells", 0.1, 500.0, 0.1),
    Parameter(
        "cutoff",
        0.04,
        "Low-pass, high-pass, band-pass, wah, phaser, bit-crush: frequency, as a part of the highest there is",
        0.001,
        0.95,
        0.001,
    ),
    tag="sound",
    measured_by="distance",
    codecs=("scipy",),
)
def sonification(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    effect: str,
    samples: str,
    delay: float,
    feedback: float,
    sweeps: float,
    cutoff: float,
) -> Image.Image:
    """Sound effects on raw pixels: ghosts, combs, waves and bands that wander through the rows.

    Severity is how much of the sound goes through the effect (the mix of an audio editor).
    """
    octets = np.asarray(image).reshape(-1)
    sound = samples_of(octets, samples)
    behind = max(1, min(len(sound), round(delay * len(sound))))
    knobs = Knobs(behind, feedback, sweeps, float(rng.uniform(0, 2 * np.pi)), cutoff)
    mixed = sound + np.float32(severity) * (EFFECTS[effect](sound, knobs) - sound)
    bent = octets_of(mixed, samples, octets)
    return Image.fromarray(bent.reshape(image.height, image.width, 3))
