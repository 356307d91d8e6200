"""Presets: whole ways to break a training, each on one dial from careful to full.

Plain data and what it comes to; training itself is not known here.
"""

from collections.abc import Iterable
from typing import Literal

from .preset import SAMPLE_CONTROL, Preset, TextPart, Touch
from .preset_table import TABLE
from .registry import Value
from .step import Corruption

Side = Literal["dataset", "recipe"]

_TEXT_PARTS: dict[TextPart, str] = {"text_encoder": "LoRA on the text encoders", "word": "new word"}

PRESETS: dict[str, Preset] = {preset.name: preset for preset in TABLE}


def find_preset(name: str) -> Preset:
    """Return the preset called `name`. Raises ValueError with the names there are."""
    if name not in PRESETS:
        raise ValueError(f"preset: got {name!r}, allowed {list(PRESETS)}, choose one of them")
    return PRESETS[name]


def presets_for(side: Side) -> tuple[str, ...]:
    """Return the names of the presets that do something to the dataset, or to the recipe."""
    return tuple(preset.name for preset in TABLE if _does(preset, side))


def dataset_steps(preset: str, intensity: float, seed: int = 0) -> tuple[Corruption, ...]:
    """Return the steps a preset adds to a dataset's chain; none at intensity 0. Raises ValueError."""
    found = find_preset(preset)
    if not _checked(intensity):
        return ()
    return tuple(touch.step(intensity, seed) for touch in _touches(found))


def recipe_values(preset: str, intensity: float) -> dict[str, Value]:
    """Return the recipe's settings that a preset names, with their values; control values at intensity 0.

    Learning rates and what runs over orders of magnitude move on a logarithmic scale, the others evenly. Raises
    ValueError.
    """
    part = _checked(intensity)
    values = {setting.name: setting.value(part) for setting in find_preset(preset).recipe}
    return values | ({"epochs": 0} if "steps" in values else {})  # steps count only where no epochs are set


def sample_values(preset: str, intensity: float) -> dict[str, Value]:
    """Return the recipe's sample settings that a preset names, with their values, as `recipe_values` does.

    At intensity 0 those are left out that have no control value: they stay as they are. Raises ValueError.
    """
    part = _checked(intensity)
    settings = find_preset(preset).samples
    named = [setting for setting in settings if part or setting.name in SAMPLE_CONTROL]
    return {setting.name.removeprefix("sample_"): setting.value(part) for setting in named}


def text_values(preset: str, intensity: float) -> dict[TextPart, dict[str, Value] | None]:
    """Return what a preset trains of the text, with its settings; None for a part that is not to be trained.

    Parts that the preset does not name are left out: they stay as they are. Raises ValueError.
    """
    part = _checked(intensity)
    return {side.part: side.values(part) for side in find_preset(preset).text}


def describe_preset(preset: str, intensity: float, side: Side) -> str:
    """Return what a preset does at an intensity, and what it asks of everything but this side of it; lines of text."""
    found = find_preset(preset)
    other: Side = "recipe" if side == "dataset" else "dataset"
    lines = [
        f"{found.title} at intensity {intensity:g}",
        found.why,
        f"Done to the {side}: {_listed(found, intensity, side) or 'nothing'}",
        _line(f"It also asks of the {other} ({other.capitalize()} Preset)", _listed(found, intensity, other)),
        _line("Before training", found.by_hand),
        _line("When sampling", found.sampling),
        _line("With the trained weights", found.weights),
        _line("Not in this version", found.missing),
    ]
    return "\n".join(line for line in lines if line)


def _does(preset: Preset, side: Side) -> bool:
    return bool((*preset.recipe, *preset.text, *preset.samples) if side == "recipe" else _touches(preset))


def _touches(preset: Preset) -> tuple[Touch, ...]:
    return (*preset.pictures, *preset.captions)


def _checked(intensity: float) -> float:
    if not 0 <= intensity <= 1:
        raise ValueError(f"intensity: got {intensity}, allowed 0 to 1, change it")
    return intensity


def _line(head: str, text: str) -> str:
    return f"{head}: {text}" if text else ""


def _listed(preset: Preset, intensity: float, side: Side) -> str:
    """Return one side of a preset in words."""
    if side == "recipe":
        samples = {f"sample_{name}": value for name, value in sample_values(preset.name, intensity).items()}
        values = recipe_values(preset.name, intensity) | samples
        return _joined([*map(_named, values.items()), *_text_in_words(preset, intensity)])
    return _joined(_in_words(touch, intensity) for touch in _touches(preset) if intensity)


def _in_words(touch: Touch, intensity: float) -> str:
    step = touch.step(intensity, 0)
    values = [f"{name} {_short(value)}" for name, value in touch.parameters.items()]
    share = f" on {step.fraction:.0%}" if step.fraction < 1 else ""
    return f"{step.operation}{f' ({_joined(values)})' if values else ''} at severity {step.severity:.2g}{share}"


def _text_in_words(preset: Preset, intensity: float) -> list[str]:
    told = []
    for part, values in text_values(preset.name, intensity).items():
        named = _TEXT_PARTS[part]
        told.append(f"{named} ({_joined(map(_named, values.items()))})" if values else f"no {named}")
    return told


def _named(entry: tuple[str, Value]) -> str:
    name, value = entry
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {'none' if value == '' else value}"


def _joined(words: Iterable[str]) -> str:
    return ", ".join(words)


def _short(value: Value) -> str:
    """Return a value on one short line: of a text of several lines, how many there are."""
    if isinstance(value, str) and "\n" in value:
        return f"of {len(value.splitlines())} lines"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
