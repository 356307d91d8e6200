"""What a preset is made of: damage to pictures and captions, recipe values, bends of weights, all on one dial."""

from dataclasses import dataclass, field
from math import exp, log
from typing import Literal

from .registry import Value
from .step import Corruption, Damage, corruption

Scale = Literal["linear", "log", "switch"]
TextPart = Literal["text_encoder", "word"]

# A careful training to compare with: what a preset's recipe values are at intensity 0.
CONTROL: dict[str, Value] = {
    "learning_rate": 1e-4,
    "lr_schedule": "cosine",
    "lr_cycles": 1,
    "lr_spike_every": 0,
    "lr_spike_factor": 1.0,
    "warmup_steps": 0,
    "max_grad_norm": 1.0,
    "rank": 32,
    "alpha": 16.0,
    "steps": 8000,
    "checkpoint_every": 500,
    "caption_dropout": 0.05,
    "variants": 4,
    "noise_offset": 0.0,
    "multires_noise_iterations": 0,
    "multires_noise_discount": 0.3,
    "frozen_noises": 0,
    "min_snr_gamma": 0.0,
    "min_timestep": 0.0,
    "max_timestep": 1.0,
    "precision": "auto",
}
# And careful samples; what is not named here is left as it is at intensity 0.
SAMPLE_CONTROL: dict[str, Value] = {"sample_steps": 20, "sample_cfg": 7.0}


@dataclass(frozen=True)
class Touch:
    """One corruption of the dataset.

    parameters, severity, fraction: as at intensity 1. The dial moves the severity; `steady` ones have theirs at any
    intensity above 0, such as tags that must tell the truth.
    """

    operation: str
    parameters: dict[str, Value] = field(default_factory=dict)
    severity: float = 1.0
    fraction: float = 1.0
    damage: Damage = "frozen"
    steady: bool = False

    def step(self, intensity: float, seed: int) -> Corruption:
        """Return the step at an intensity above 0, up to 1."""
        severity = self.severity if self.steady else self.severity * intensity
        return corruption(
            self.operation,
            self.parameters,
            severity=severity,
            fraction=self.fraction,
            damage=self.damage,
            seed=seed,
        )


@dataclass(frozen=True)
class Setting:
    """One value of the recipe, as its node names them: those of the samples begin with ``sample_``.

    full: at intensity 1. scale: how the dial moves it there; "switch" has it at any intensity above 0.
    start: where the way begins if not at the control value, which may be a 0 that means "off".
    """

    name: str
    full: Value
    scale: Scale = "linear"
    start: float | None = None

    def value(self, intensity: float) -> Value:
        """Return the value at an intensity of 0 (control) to 1, in the control value's type."""
        control = (CONTROL | SAMPLE_CONTROL).get(self.name, self.full)
        if intensity == 0:
            return control
        if self.scale == "switch" or intensity == 1 or isinstance(self.full, str) or isinstance(control, str):
            return self.full
        start = float(control) if self.start is None else self.start
        moved = _between(start, float(self.full), intensity, self.scale)
        return round(moved) if isinstance(control, int) else moved


@dataclass(frozen=True)
class TextSide:
    """What a preset trains of the text beside the LoRA: the text encoders, or a new word (pivotal tuning).

    settings: as Recipe Text Encoder and Recipe Embedding name them, the others as those nodes have them at first.
    A careful training has neither part: so it is at intensity 0, and at any intensity where there are no settings.
    """

    part: TextPart
    settings: tuple[Setting, ...] = ()

    def values(self, intensity: float) -> dict[str, Value] | None:
        """Return the part's values at an intensity of 0 to 1, None for a part that is not trained."""
        if not intensity or not self.settings:
            return None
        return {setting.name: setting.value(intensity) for setting in self.settings}


@dataclass(frozen=True)
class Bend:
    """One change to the trained weights, as by Bend LoRA; the dial is its severity.

    parameters: what is not named has its default. `steady` ones have severity 1 at any intensity.
    """

    operation: str
    parameters: dict[str, Value] = field(default_factory=dict)
    norm_match: bool = False
    only_blocks: str = ""
    steady: bool = False


@dataclass(frozen=True)
class Preset:
    """A way to break a training, from careful to full.

    why: the practice it follows, in the words of those who tried it. pictures, captions: damage to the dataset, in this
    order; to the sizes told of pictures and to encoded captions too. recipe: values for the training; text: what is
    trained of the text with it; samples: values for the pictures drawn with it. bends: of the trained weights, in this
    order; fit: how these are first fitted to another model, "" for not at all. by_hand: what remains to do before the
    training; sampling, weights: and after it. missing: what this version cannot do for it.
    """

    name: str
    title: str
    why: str
    pictures: tuple[Touch, ...] = ()
    captions: tuple[Touch, ...] = ()
    recipe: tuple[Setting, ...] = ()
    text: tuple[TextSide, ...] = ()
    samples: tuple[Setting, ...] = ()
    bends: tuple[Bend, ...] = ()
    fit: str = ""
    by_hand: str = ""
    sampling: str = ""
    weights: str = ""
    missing: str = ""


def _between(start: float, full: float, part: float, scale: Scale) -> float:
    if scale == "log":
        return exp(log(start) + part * (log(full) - log(start)))
    return start + part * (full - start)
