"""A private copy of a CLIP whose text encoders can be trained.

Captions go through ComfyUI's own tokenizer and encoders, so that what the network hears in training is what
CLIPTextEncode gives; new words enter where the tokenizer puts the vectors of ``embedding:`` files.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ..training.conditioning import TextConditioning
from ..training.words import Vectors
from .blocks import checkpointed, given, out_of_place
from .lora_keys import TEXT_PREFIXES, text_lora_names
from .private_copy import (
    PLAIN_DTYPES,
    bake_patches,
    in_training,
    load,
    own_weights,
    private_patcher,
    release,
    strip_hooks,
)
from .words import literal_tokenizer, prompt_tokenizer

# Encoders whose gradients are proved (tests/test_text_gradients.py), by ComfyUI's name, and where adapters belong.
_ATTENTION = {
    "clip_l": r"\.self_attn\.(q|k|v|out)_proj$",
    "clip_g": r"\.self_attn\.(q|k|v|out)_proj$",
    "t5xxl": r"\.SelfAttention\.[qkvo]$",
}
_FEED_FORWARD = {
    "clip_l": r"\.mlp\.fc[12]$",
    "clip_g": r"\.mlp\.fc[12]$",
    "t5xxl": r"\.DenseReluDense\.w(i|i_0|i_1|o)$",
}
_IN_PLACE = frozenset({"CLIPLayer", "T5LayerSelfAttention", "T5LayerFF"})
_ATTENDING = frozenset({"CLIPAttention", "T5Attention"})
_CHECKPOINTED = frozenset({"CLIPLayer", "T5Block"})


class TrainingText:
    """The private text encoders, seen as the trainer needs them."""

    def __init__(self, clip: Any, beside: tuple[ModelPatcher, ...] = ()) -> None:
        """clip: a CLIP object of its own around a private patcher. beside: patchers to load together with it."""
        self._clip = clip
        self._beside = beside

    @property
    def network(self) -> nn.Module:
        """All encoders in one module; adapters are injected here, paths begin with the encoder's name."""
        return self._clip.cond_stage_model

    @property
    def device(self) -> torch.device:
        """The device the encoders run on."""
        return self._clip.patcher.load_device

    @cached_property
    def encoders(self) -> tuple[str, ...]:
        """ComfyUI's names of the encoders: ("clip_l",) of SD1.5, ("clip_l", "clip_g") of SDXL."""
        return tuple(name for name, part in self.network.named_children() if hasattr(part, "transformer"))

    def layers(self, target_modules: str, encoders: tuple[str, ...]) -> list[str]:
        """Return the paths of the layers that "attention" or "attention+ff" adapts in these encoders."""
        patterns = {name: _ATTENTION[name] for name in encoders}
        if target_modules == "attention+ff":
            patterns = {name: f"{pattern}|{_FEED_FORWARD[name]}" for name, pattern in patterns.items()}
        linear = [path for path, module in self.network.named_modules() if isinstance(module, nn.Linear)]
        return [path for name, pattern in patterns.items() for path in linear if _matches(path, name, pattern)]

    def lora_names(self) -> dict[str, str]:
        """Return the key prefix of each layer in a LoRA file."""
        return text_lora_names(self.network)

    def table(self, encoder: str) -> Tensor:
        """Return an encoder's token embeddings, fp32 [vocabulary, width], on the CPU."""
        return self._encoder(encoder).get_input_embeddings().weight.detach().to("cpu", torch.float32)

    def token_ids(self, encoder: str, text: str) -> list[int]:
        """Return the ids of `text`'s tokens, without start, end and padding."""
        part = getattr(self._clip.tokenizer, encoder)
        ids = part.tokenizer(text)["input_ids"]
        return list(ids[part.tokens_start : -1 if part.tokenizer_adds_end_token else None])

    def encode(self, text: str, words: Mapping[str, Vectors], prompt_syntax: bool = False) -> TextConditioning:
        """Return the conditioning of `text`, with gradients to adapters and to the vectors of `words`.

        prompt_syntax: read weights and the names of embedding files; otherwise these are ordinary text. Words are
        known either way.
        """
        knowing = copy.copy(self._clip)
        knowing.tokenizer = (prompt_tokenizer if prompt_syntax else literal_tokenizer)(knowing.tokenizer, words)
        tokens = knowing.tokenize(text, **({} if prompt_syntax else {"disable_weights": True}))
        cross_attn, pooled, *extra = self._encoded(tokens)
        extras = {"pooled_output": pooled, **(extra[0] if extra else {})}
        return TextConditioning(cross_attn, {name: value for name, value in extras.items() if value is not None})

    def _encoded(self, tokens: dict[str, Any]) -> Any:
        """Do what CLIP.encode_from_tokens does, but for loading: that would look for memory at every caption."""
        network = self._clip.cond_stage_model
        network.reset_clip_options()
        if self._clip.layer_idx is not None:
            network.set_clip_options({"layer": self._clip.layer_idx})
        network.set_clip_options({"execution_device": self.device})
        return network.encode_token_weights(tokens)

    def load(self) -> None:
        """Put the encoders on the training device; does nothing while they are still there."""
        load(self._clip.patcher, *self._beside)

    def adapters_changed(self) -> None:
        """Tell the patcher that the network has grown, so that its size is measured again."""
        self._clip.patcher.size = 0
        self._clip.patcher.model_size()

    @contextmanager
    def training(self, gradient_checkpointing: bool) -> Iterator[None]:
        """Hold the encoders ready for forward and backward passes; everything is as before afterwards."""
        with ExitStack() as stack:
            stack.enter_context(out_of_place(self._in_place))
            # ComfyUI's other attention adds the mask in place, which is lost under `out_of_place`.
            stack.enter_context(given(self._attentions, optimized_attention=attention_pytorch))
            if gradient_checkpointing:
                stack.enter_context(checkpointed(self._recomputed))
            stack.enter_context(in_training())
            yield

    # Found once: adapters replace what is in these blocks, never the blocks.
    @cached_property
    def _in_place(self) -> list[nn.Module]:
        return self._blocks(_IN_PLACE)

    @cached_property
    def _recomputed(self) -> list[nn.Module]:
        return self._blocks(_CHECKPOINTED)

    @cached_property
    def _attentions(self) -> list[nn.Module]:
        return self._blocks(_ATTENDING)

    def _blocks(self, names: frozenset[str]) -> list[nn.Module]:
        return [module for module in self.network.modules() if type(module).__name__ in names]

    def _encoder(self, name: str) -> Any:
        return getattr(self.network, name).transformer


def _matches(path: str, encoder: str, pattern: str) -> bool:
    return path.startswith(f"{encoder}.") and re.search(pattern, path) is not None


def encoder_widths(clip: Any) -> dict[str, int]:
    """Return the width of a token's vector for each text encoder of a CLIP, by ComfyUI's names of them."""
    parts = {name: getattr(part, "transformer", None) for name, part in clip.cond_stage_model.named_children()}
    return {name: part.get_input_embeddings().weight.shape[1] for name, part in parts.items() if part is not None}


def require_trainable_text(clip: Any) -> None:
    """Raise ValueError for encoders whose gradients are not proved, or that no LoRA file names together."""
    names = tuple(encoder_widths(clip))
    if names not in TEXT_PREFIXES or not set(names) <= set(_ATTENTION):
        allowed = " or ".join(" with ".join(known) for known in TEXT_PREFIXES)
        kind = type(clip.cond_stage_model).__name__
        raise ValueError(
            f"clip: got a {kind} with the encoders {list(names)}, allowed for training words or text encoders are "
            f"{allowed}, take these settings off the recipe or use an SD1.5, SDXL or FLUX.1 model"
        )
    narrow = {str(weight.dtype) for weight in clip.cond_stage_model.parameters() if weight.dtype not in PLAIN_DTYPES}
    if narrow:
        raise ValueError(
            f"clip: got text encoders in {sorted(narrow)}, allowed for training words or text encoders are fp16, bf16 "
            "and fp32, load the files of one of these"
        )


@contextmanager
def private_text(clip: Any, beside: tuple[ModelPatcher, ...] = ()) -> Iterator[TrainingText]:
    """Give a trainable copy of the text encoders of `clip` for the length of the context, patches baked in.

    The weights keep their dtype, and the encoders compute in fp32, as ComfyUI's do. beside: patchers that train
    together with it. Raises ValueError for encoders whose gradients are not proved, and for a CLIP that can neither be
    reloaded nor copied.
    """
    require_trainable_text(clip)
    with torch.inference_mode(False):
        patcher = private_patcher(clip.patcher, "clip")
        try:
            strip_hooks(patcher)
            bake_patches(patcher)
            own_weights(patcher.model, None)
            patcher.size = 0
            yield TrainingText(_clip_around(clip, patcher), beside)
        finally:
            release(patcher)


def _clip_around(clip: Any, patcher: ModelPatcher) -> Any:
    private = clip.clone()
    private.patcher, private.cond_stage_model = patcher, patcher.model
    private.apply_hooks_to_conds, private.use_clip_schedule = None, False
    return private
