"""What the word studies train on and ask for."""

from collections.abc import Sequence
from typing import Any

from studies import Studies
from style_questions import GROUNDS, StyleQuestion
from word_studies_ways import KNOWN

STYLE, PICTURES = "vhs", 24  # of the dataset: so many in the style, and as many plain ones


def dataset(studies: Studies, word: str) -> Any:
    """Return the dataset of every training: pictures in the style with `word` in their captions, and plain ones."""
    from glitch_lora.dataset.captions import TriggerWord
    from glitch_lora.dataset.merge import mixed

    styled = studies.dataset("styled", styled_pictures(STYLE, 0)).with_step(TriggerWord(word))
    return mixed([styled, studies.dataset("plain", styled_pictures("plain", 1))])


def styled_pictures(style: str, seed: int) -> list[Any]:
    """Return drawn pictures, none of the known word's shape: in captions the word is the trigger and nothing else."""
    from glitch_lora.demo.datasets import draw_dataset

    drawn = [one for one in draw_dataset(style, 2 * PICTURES, seed) if KNOWN not in one.caption.split()]
    return drawn[:PICTURES]


def questions() -> list[StyleQuestion]:
    """Return prompts for the pairs that nothing was trained on, each on every ground."""
    from glitch_lora.demo.scenes import HELD_OUT_PAIRS

    return _asked([pair for pair in sorted(HELD_OUT_PAIRS) if KNOWN not in pair], 10_000)


def tuning_questions() -> list[StyleQuestion]:
    """Return prompts for other pairs than the questions', to choose settings by."""
    from glitch_lora.demo.scenes import HELD_OUT_PAIRS
    from glitch_lora.demo.shapes import COLOURS, SHAPES

    shapes = [shape for shape in SHAPES if shape != KNOWN]
    turned = [(colour, shapes[index % len(shapes)]) for index, colour in enumerate(COLOURS)]
    return _asked([pair for pair in turned if pair not in HELD_OUT_PAIRS], 20_000)


def old_questions() -> list[StyleQuestion]:
    """Return prompts for what the known word means to the model, in the pairs that it was trained on."""
    from glitch_lora.demo.scenes import HELD_OUT_PAIRS
    from glitch_lora.demo.shapes import COLOURS

    return _asked([(colour, KNOWN) for colour in COLOURS if (colour, KNOWN) not in HELD_OUT_PAIRS], 30_000)


def _asked(pairs: Sequence[tuple[str, str]], first_seed: int) -> list[StyleQuestion]:
    from glitch_lora.demo.scenes import one_thing

    asked = [(colour, shape, one_thing(shape, colour, ground).caption) for ground in GROUNDS for colour, shape in pairs]
    return [StyleQuestion(prompt, "", first_seed + n, colour, shape) for n, (colour, shape, prompt) in enumerate(asked)]
