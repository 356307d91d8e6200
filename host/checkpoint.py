"""A checkpoint of a run on a MODEL and CLIP: its LoRA and its words, always of the same step."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from ..training.words import Vectors, split_bundle
from .lora_keys import apply_lora, apply_text_lora, is_for_text_alone
from .text_model import encoder_widths
from .words import clip_with_plain_words, clip_with_words


def apply_checkpoint(model: Any, clip: Any, tensors: dict[str, Tensor], strength: float) -> tuple[Any, Any]:
    """Return (MODEL, CLIP) clones with the LoRA at `strength` and, on the CLIP, the words; CLIP may be None.

    A prompt may then write a word in any of the ways of `training.words.rewrite`. `strength` is the LoRA's alone: a
    word is there or not, and a prompt's weights make it louder. Raises ValueError for what does not belong to this
    MODEL or CLIP, and without a CLIP for a checkpoint that changes nothing else.
    """
    lora, words = split_bundle(tensors)
    if clip is None and is_for_text_alone(lora):
        raise ValueError(
            "clip: got none for a run that trained text alone, so that nothing would change, allowed a CLIP, connect "
            "the text encoder that it was trained with"
        )
    if lora:
        model, clip = apply_lora(model, clip, lora, strength, strength)
    return model, clip if clip is None else _with_words(clip, words)


def text_checkpoint(clip: Any, tensors: dict[str, Tensor], strength: float) -> Any:
    """Return the CLIP that `apply_checkpoint` gives, where there is no MODEL to go with it."""
    lora, words = split_bundle(tensors)
    return _with_words(apply_text_lora(clip, lora, strength), words)


def before_training(clip: Any, tokens: Iterable[str]) -> Any:
    """Return the CLIP as it was before a run learnt `tokens`: however a prompt writes them, they are ordinary text."""
    return clip if clip is None else clip_with_plain_words(clip, tuple(tokens))


def _with_words(clip: Any, words: Mapping[str, Vectors]) -> Any:
    if words:
        _require_fitting(words, encoder_widths(clip))
    return clip_with_words(clip, words)


def _require_fitting(words: Mapping[str, Vectors], widths: Mapping[str, int]) -> None:
    for token, vectors in words.items():
        found = {encoder: part.shape[-1] for encoder, part in vectors.items()}
        if found != {encoder: widths.get(encoder) for encoder in found}:
            raise ValueError(
                f"run: got the word {token!r} with vectors {found}, allowed for this CLIP {dict(widths)}, "
                "connect the text encoder that it was trained with"
            )
