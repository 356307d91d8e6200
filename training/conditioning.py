"""What a network is told besides the noisy latent: plain values, shared with the host."""

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class TextConditioning:
    """One caption as the text encoder gave it.

    cross_attn: [1, tokens, width]. extras: what rides along (``pooled_output`` [1, width], ...).
    """

    cross_attn: Tensor
    extras: dict[str, Any]


class PromptEncoder(Protocol):
    """Encodes prompts as a training's text side is now."""

    def load(self) -> None: ...
    def encode_prompt(self, prompt: str) -> TextConditioning: ...


@dataclass(frozen=True)
class SizeConditioning:
    """SDXL's micro-conditioning of one picture, in pixels (Podell et al. 2023, section 2.2).

    original: (width, height) before framing. crop: (left, top) cut away. target: (width, height) trained on.
    """

    original: tuple[int, int]
    crop: tuple[int, int]
    target: tuple[int, int]
