"""What every text encoder of a CLIP makes of texts, before a run's checkpoint and with it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..training.words import Vectors, mentions
from .checkpoint import before_training, text_checkpoint
from .rendering import restore_weights, text_encoder_changed, with_clip_layer
from .text_model import TrainingText
from .tokens import part_of
from .vocabulary import Scan, TextEncoder, scan_table, text_encoders

Array = NDArray[np.float32]
_PROJECTED = "clip_g"


@dataclass(frozen=True)
class Output:
    """What one encoder gives for one text.

    pieces: the ids of the text's own tokens, None for a learnt vector. sequence: [pieces, width], what CLIPTextEncode
    gives at these tokens, clip skip included. pooled: [width], the output at the end token after the last layer and the
    final norm; of CLIP-G projected, as SDXL hears it. None for an encoder that has none (T5).
    """

    pieces: tuple[int | None, ...]
    sequence: Array
    pooled: Array | None


class ProbeEncoder:
    """Encodes texts with a CLIP as it is and with checkpoints on it, all on clones.

    A context: at its end the last checkpoint is off the weights again that the clones share with the CLIP.
    """

    def __init__(self, clip: Any, tokens: Iterable[str], layer: int | None = None, has_layer: bool = False) -> None:
        """tokens: the words the run learns. layer: the clip skip of its training, put on when has_layer.

        Raises ValueError for a CLIP that is missing, or has no encoder that takes a text as it is written.
        """
        if clip is None:
            raise ValueError("clip: got nothing, allowed a CLIP, connect the text encoder that the run was trained on")
        self._given, self._tokens = clip, tuple(tokens)
        self._clip = with_clip_layer(clip, layer) if has_layer else clip
        self._encoders = text_encoders(self._clip)
        if not self._encoders:
            raise ValueError(
                "clip: got one whose text encoders all wrap the prompt in a template, allowed are CLIP and T5 "
                "encoders, connect the CLIP of such a model"
            )
        self._before: dict[str, dict[str, Output]] = {}

    @property
    def encoders(self) -> tuple[str, ...]:
        """ComfyUI's names of the encoders, such as "clip_l"."""
        return tuple(encoder.name for encoder in self._encoders)

    @property
    def text(self) -> TrainingText:
        """The encoders as a training sees them, for the vectors with which words start."""
        return TrainingText(self._clip)

    def before(self, texts: Sequence[str], heard: Callable[[int], None]) -> list[dict[str, Output]]:
        """Return each text's output by encoder without the run; learnt words are ordinary text.

        heard(n) is called after n texts and may raise to stop. Raises ValueError for a text without a token.
        """
        clip = before_training(self._clip, self._tokens)
        found = [self._encoded(clip, text, heard, number) for number, text in enumerate(texts, start=1)]
        self._before = dict(zip(texts, found, strict=True))
        return found

    def after(
        self, tensors: dict[str, Tensor], texts: Sequence[str], heard: Callable[[int], None]
    ) -> list[dict[str, Output]]:
        """Return the same with a checkpoint at strength 1. Where it changes nothing, nothing is computed again."""
        clip = text_checkpoint(self._clip, tensors, 1.0)
        changed = text_encoder_changed(self._clip, clip)
        found = []
        for number, text in enumerate(texts, start=1):
            if changed or text not in self._before or any(mentions(text, token) for token in self._tokens):
                found.append(self._encoded(clip, text, heard, number))
            else:
                found.append(self._before[text])
                heard(number)
        return found

    def look_up(self, vectors: Vectors, count: int, check: Callable[[], None]) -> dict[str, Scan]:
        """Return, by encoder, the vocabulary's words nearest to each of these vectors, and the table's median norm."""
        encoders = text_encoders(self._clip)  # loads the CLIP without any checkpoint
        return {
            encoder.name: scan_table(encoder, vectors[encoder.name].to(encoder.device), count, check)
            for encoder in encoders
            if encoder.name in vectors
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._given.cond_stage_model.reset_clip_options()
        restore_weights(self._given.patcher)

    def _encoded(self, clip: Any, text: str, heard: Callable[[int], None], number: int) -> dict[str, Output]:
        found = _outputs(clip, self._encoders, text)
        heard(number)
        return found


@torch.no_grad()
def _outputs(clip: Any, encoders: Sequence[TextEncoder], text: str) -> dict[str, Output]:
    """Do what CLIP.encode_from_tokens does, and keep the encoders' outputs apart."""
    places = clip.tokenize(text, return_word_ids=True)
    tokens = {name: [[entry[:2] for entry in row] for row in rows] for name, rows in places.items()}
    model = clip.cond_stage_model
    model.reset_clip_options()
    if clip.layer_idx is not None:
        model.set_clip_options({"layer": clip.layer_idx})
    clip.load_model(tokens)
    model.set_clip_options({"execution_device": clip.patcher.load_device})
    return {encoder.name: _output(model, encoder, tokens, places, text) for encoder in encoders}


def _output(
    model: Any, encoder: TextEncoder, tokens: Mapping[str, Any], places: Mapping[str, Any], text: str
) -> Output:
    part = part_of(model, encoder.tokenizer)
    # Only CLIP-G's projection is the model's own: a file without CLIP-L's leaves it as memory was.
    part.set_clip_options({"projected_pooled": encoder.name == _PROJECTED})
    sequence, pooled = part.encode_token_weights(tokens[encoder.tokenizer])[:2]
    own = [(place, entry[0]) for place, entry in enumerate(_flat(places[encoder.tokenizer])) if entry[2] > 0]
    if not own:
        raise ValueError(f"probes: got {text!r}, which has no token, allowed are words, write some")
    at = torch.tensor([place for place, _ in own], device=sequence.device)
    return Output(
        tuple(int(piece) if isinstance(piece, int) else None for _, piece in own),
        sequence[0, at].float().cpu().numpy(),
        None if pooled is None else pooled[0].float().cpu().numpy(),
    )


def _flat(rows: Iterable[Sequence[Any]]) -> list[Any]:
    return [entry for row in rows for entry in row]
