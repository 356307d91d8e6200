"""What a text encoder gives out for a word alone, as one vector."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .vocabulary import TextEncoder

Pieces = Sequence[int | Tensor]
_BATCH = 128  # words at once
_FILLERS = 64  # texts of one length whose mean is what all texts of that length have in common


def word_directions(
    clip: Any, encoder: TextEncoder, words: Sequence[Pieces], known: Sequence[Pieces], check: Callable[[], None]
) -> Tensor:
    """Return the directions [words, width] of `word_outputs`, after what all texts of that length share is taken off.

    Outputs of a text encoder lie in a narrow cone (Ethayarajh 2019, "How Contextual are Contextualized Word
    Representations?"), and CLIP's depends on how many tokens came before: as they are, any two have a cosine near 1,
    the nearer the more equal their number of pieces. So the mean is removed (Mu and Viswanath 2018, "All-but-the-Top"),
    for each number of pieces its own: that over texts of so many pieces from `known` words. Each row has length 1.
    """
    pieces = [piece for word in known for piece in word]
    fillers = {length: _cuttings(pieces, length) for length in {len(word) for word in words}}
    # Most known words are asked about and are fillers too: each text is encoded once.
    texts = {_key(text): text for some in (words, *fillers.values()) for text in some}
    outputs = dict(zip(texts, word_outputs(clip, encoder, list(texts.values()), check), strict=True))
    means = {length: torch.stack([outputs[_key(text)] for text in some]).mean(0) for length, some in fillers.items()}
    centred = torch.stack([outputs[_key(word)] - means[len(word)] for word in words])
    return torch.nn.functional.normalize(centred, dim=1)


def _key(pieces: Pieces) -> tuple[int, ...]:
    """Return what tells texts apart: ids, and for learned vectors which they are."""
    return tuple(piece if isinstance(piece, int) else -id(piece) for piece in pieces)


def _cuttings(pieces: Pieces, length: int) -> list[Pieces]:
    """Return texts of `length` pieces from everywhere in `pieces`; of one piece each all there are."""
    stream = [*pieces, *pieces[: length - 1]]
    step = max(1, len(pieces) // _FILLERS) if length > 1 else 1
    return [stream[start : start + length] for start in range(0, len(pieces), step)]


@torch.no_grad()
def word_outputs(clip: Any, encoder: TextEncoder, words: Sequence[Pieces], check: Callable[[], None]) -> Tensor:
    """Return one vector [words, width] in fp32 on the CPU for each word, given as its pieces.

    Of a CLIP encoder it is the output at the end token after the last layer and the final norm, before CLIP's
    projection: ComfyUI's unprojected pooled output. Of any other it is the mean of the last layer's output over the
    word's pieces, without padding. LoRAs on the text encoder count, clip skip does not. `check` may raise to stop.
    """
    outputs: dict[int, Tensor] = {}
    encode = _end_outputs if hasattr(encoder.part.transformer, "text_model") else _mean_outputs
    lengths = defaultdict(list)
    for number, word in enumerate(words):
        lengths[len(word)].append(number)
    for alike in lengths.values():
        for start in range(0, len(alike), _BATCH):
            check()
            batch = alike[start : start + _BATCH]
            rows = encode(clip, encoder, [list(words[number]) for number in batch]).float().cpu()
            outputs |= dict(zip(batch, rows, strict=True))
    return torch.stack([outputs[number] for number in range(len(words))])


def _end_outputs(clip: Any, encoder: TextEncoder, words: list[list[int | Tensor]]) -> Tensor:
    """Return the output at the end token: CLIP looks back only, so the padding that follows need not be computed."""
    import comfy.ops

    special, model = encoder.part.special_tokens, encoder.part.transformer.text_model
    length = len(words[0]) + 2
    rows = encoder.embed([piece for word in words for piece in (special["start"], *word, special["end"])])
    rows = rows.view(len(words), length, -1)
    positions = comfy.ops.cast_to(model.embeddings.position_embedding.weight, rows.dtype, rows.device)[:length]
    lowest = torch.finfo(rows.dtype).min
    ahead = torch.full((length, length), lowest, dtype=rows.dtype, device=rows.device).triu_(1)
    return model.final_layer_norm(model.encoder(rows + positions, mask=ahead)[0])[:, -1]


def _mean_outputs(clip: Any, encoder: TextEncoder, words: list[list[int | Tensor]]) -> Tensor:
    end = encoder.part.special_tokens.get("end")
    clip.cond_stage_model.reset_clip_options()
    clip.cond_stage_model.set_clip_options({"execution_device": encoder.device})
    rows = encoder.part([word if end is None else [*word, end] for word in words])[0]
    return rows[:, : len(words[0])].mean(dim=1)
