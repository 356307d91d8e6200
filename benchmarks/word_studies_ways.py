"""The ways of training that the word studies compare, and the settings that each may choose from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NONCE, KNOWN = "prtkl", "star"
SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Way:
    """A way of training. title: for people. settings: what there is to choose, a list of numbers each.

    recipe: what the recipe says for the word and one of the settings.
    """

    title: str
    settings: tuple[tuple[float, ...], ...]
    recipe: Callable[..., dict[str, Any]]


def _lora(word: str, rate: float) -> dict[str, Any]:
    return {"learning_rate": rate}


def _encoder(word: str, rate: float, *lora: float) -> dict[str, Any]:
    from glitch_lora.training.text_settings import TextEncoderSettings

    return {"text_encoder": TextEncoderSettings(learning_rate_clip_l=rate)} | _own(lora)


def _inversion(word: str, vectors: float, rate: float) -> dict[str, Any]:
    return {"train_network": False, "embeddings": (_word(word, vectors, rate, 1.0),)}


def _pivotal(word: str, vectors: float, rate: float, *lora: float) -> dict[str, Any]:
    return {"embeddings": (_word(word, vectors, rate, 0.5),)} | _own(lora)


def _in_turn(word: str, vectors: float, rate: float, *lora: float) -> dict[str, Any]:
    return _pivotal(word, vectors, rate, *lora) | {"network_start_frac": 0.5}


def _own(lora: tuple[float, ...]) -> dict[str, Any]:
    """Return the LoRA's rate where a way has one of its own."""
    return {"learning_rate": lora[0]} if lora else {}


def _word(word: str, vectors: float, rate: float, fraction: float) -> Any:
    """Return the settings of a word that starts as noise, or as what the model knows by it."""
    from glitch_lora.training.text_settings import EmbeddingSettings

    start = "words" if word == KNOWN else "noise"
    return EmbeddingSettings(
        word, num_vectors=int(vectors), init=start, init_text=word, learning_rate=rate, ti_frac=fraction
    )


WAYS = {
    "inversion": Way("textual inversion alone", ((4, 1e-2), (4, 1e-1)), _inversion),
    "lora": Way("LoRA alone", ((1e-3,), (2e-3,)), _lora),
    "encoder": Way("LoRA and text encoder", ((3e-4,), (1e-3,), (1e-3, 1e-3)), _encoder),
    "pivotal": Way("pivotal, word and LoRA together", ((1, 1e-2), (4, 1e-2), (4, 1e-2, 1e-3)), _pivotal),
    "in-turn": Way("pivotal, first the word, then the LoRA", (), _in_turn),
    "fixed": Way("a word of noise that is not learnt, and LoRA", ((4, 0.0),), _pivotal),
    "short": Way("LoRA alone, as many steps as with the text encoder", (), _lora),
}
SETTINGS_OF = {"in-turn": "pivotal", "short": "lora"}  # the ways that take another's settings
STEPS_OF = {"short": "encoder", "fixed": "pivotal"}  # and another's steps
PACE_OF = {"short": "lora", "fixed": "pivotal"}  # and another's time for a step
WITH_LORA = ("encoder", "pivotal", "in-turn", "fixed")  # and the LoRA's rate of LoRA alone
TRAINED = [(NONCE, way) for way in WAYS] + [(KNOWN, "lora"), (KNOWN, "pivotal")]
