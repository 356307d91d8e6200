"""What a recipe trains of the text, in sentences and in the metadata of LoRA files."""

from collections.abc import Sequence
from typing import Any

from .parts import start_step, stop_step
from .recipe import Recipe
from .text_settings import ALL_ENCODERS, EmbeddingSettings, TextEncoderSettings
from .words import prompt_text


def describe_text(recipe: Recipe, total: int) -> list[str]:
    """Return a line for the text encoders, for each word, and for the LoRA that joins later; none without them.

    total: steps of the whole training.
    """
    lines = [_encoders(recipe.text_encoder, total)] if recipe.text_encoder else []
    lines += [_word(word, total) for word in recipe.embeddings]
    joins = start_step(recipe.network_start_frac, total)
    if recipe.trains_text and not recipe.train_network:
        lines.append("The diffusion model has no LoRA in this run")
    elif joins:
        lines.append(f"The diffusion model's LoRA joins after step {joins}")
    return lines


def text_metadata(recipe: Recipe, encoders: Sequence[str]) -> dict[str, str]:
    """Return what kohya's and Stability AI's metadata say of a trained text side; nothing where there is none.

    encoders: ComfyUI's names of those that have adapters in the file.
    """
    metadata: dict[str, str] = {}
    if encoders and recipe.text_encoder:
        rates = [recipe.text_encoder.learning_rate(encoder) for encoder in encoders]
        metadata["ss_text_encoder_lr"] = str(rates[0] if len(set(rates)) == 1 else rates)
    if recipe.trains_text and recipe.train_network:
        metadata["ss_unet_lr"] = str(recipe.learning_rate)
    if recipe.embeddings and recipe.trains_lora:
        texts = ", ".join(prompt_text(word.token) for word in recipe.embeddings)
        metadata["modelspec.usage_hint"] = f"Put {texts} into the prompt; the embedding belongs to this LoRA."
    return metadata


def _encoders(settings: TextEncoderSettings, total: int) -> str:
    rates = [(name, settings.learning_rate(name)) for name in ("clip_l", "clip_g", "t5xxl")]
    told = ", ".join(f"{name} at {rate:g}" for name, rate in rates if rate)
    until = _until(settings.text_encoder_frac, total)
    return f"LoRA on the text encoders (those the model has): {told}, rank {settings.rank}, {until}"


def _word(word: EmbeddingSettings, total: int) -> str:
    vectors = f"{word.num_vectors} vector{'s' if word.num_vectors > 1 else ''}"
    encoders = "" if word.encoders == ALL_ENCODERS else f" of {word.encoders}"
    captions = "" if word.captions == "captions" else f", on {word.captions}"
    until = _until(word.ti_frac, total)
    return f"Word {word.token}: {vectors}{encoders} from {_start(word)}, at {word.learning_rate:g}{captions}, {until}"


def _start(word: EmbeddingSettings) -> str:
    starts: dict[Any, str] = {
        "words": f"{word.init_text!r}",
        "mean of words": f"the mean of {word.init_text!r}",
        "noise": "noise",
        "file": f"the file {word.init_file}",
    }
    return starts[word.init]


def _until(fraction: float, total: int) -> str:
    stop = stop_step(fraction, total)
    return "trained to the end" if stop >= total else f"frozen after step {stop}"
