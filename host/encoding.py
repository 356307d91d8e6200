"""Captions and pictures through the graph's own CLIP and VAE."""

from typing import Any

from PIL import Image
from torch import Tensor

from ..training.conditioning import TextConditioning
from .images import to_tensor
from .words import caption_clip


def encode_text(clip: Any, text: str, prompt_syntax: bool = False) -> TextConditioning:
    """Return what ComfyUI's CLIPTextEncode gives for `text`, whole, however many windows it spans.

    prompt_syntax: read ``(word:1.2)`` as weights and ``embedding:name`` as a file; otherwise they are ordinary text.
    Words that the CLIP knows mean themselves either way.
    The tensors lie on the host's intermediate device.
    """
    tokens = clip.tokenize(text) if prompt_syntax else caption_clip(clip).tokenize(text, disable_weights=True)
    encoded = clip.encode_from_tokens_scheduled(tokens)
    cross_attn, extras = encoded[0]
    return TextConditioning(cross_attn, {name: value for name, value in extras.items() if value is not None})


def encode_image(vae: Any, image: Image.Image) -> Tensor:
    """Return the VAE's latent [1, C, H/8, W/8] of an RGB picture, as ComfyUI's VAEEncode gives it (not yet scaled)."""
    return vae.encode(to_tensor(image))


def clip_skip(clip: Any) -> int | None:
    """Return the layer CLIPSetLastLayer chose (-2 is "clip skip 2"), or None for the encoder's own default."""
    return clip.layer_idx


def free_encoders() -> None:
    """Take text encoder and VAE off the device: the training needs the memory."""
    import comfy.model_management

    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()
