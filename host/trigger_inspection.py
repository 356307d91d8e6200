"""What every text encoder of a CLIP makes of a word."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..dataset.trigger_facts import EncoderFacts, Near, Piece, usual_nearest
from .progress import check_interrupt
from .tokens import word_pieces
from .vocabulary import Scan, TextEncoder, Vocabulary, scan_table, text_encoders
from .word_outputs import word_directions

Pieces = list[int | Tensor]
_MOST_PIECES = 75  # what CLIP hears of one prompt at a time


class Inspector:
    """Looks words up in the text encoders of a CLIP, which it reads and does not change.

    Raises ValueError for a CLIP none of whose encoders takes a word alone.
    """

    def __init__(self, clip: Any) -> None:
        self._clip = clip
        self._encoders = text_encoders(clip)
        if not self._encoders:
            raise ValueError(
                "clip: got one whose text encoders all wrap the prompt in a template, allowed are CLIP and T5 "
                "encoders, connect the CLIP of such a model"
            )

    def known_words(self) -> frozenset[str]:
        """Return every whole word of the vocabularies that has three letters or more, in small letters."""
        words = (word for encoder in self._encoders for word in encoder.vocabulary.words.values())
        return frozenset(word.lower() for word in words if len(word) > 2)

    def rare_tokens(self) -> list[str]:
        """Return `Vocabulary.rare_tokens` of the CLIP encoder, of the first encoder where there is none."""
        return self._encoders[0].vocabulary.rare_tokens()

    def emptiness(self, word: str) -> float:
        """Return the mean of `Vocabulary.emptiness` over the encoders, 0 where it is 0 in one of them."""
        cut = word_pieces(self._clip, word)
        found = [one.vocabulary.emptiness(cut[one.tokenizer]) for one in self._encoders]
        return sum(found) / len(found) if all(found) else 0.0

    def inspect(
        self, words: Sequence[str], probes: Sequence[str], count: int, check: Callable[[], None] = check_interrupt
    ) -> list[tuple[EncoderFacts, ...]]:
        """Return for each word what each encoder makes of it, with up to `count` nearest words in each list.

        probes: known words, with whose outputs the words' outputs are compared; at least the nearest is told. Raises
        ValueError for a word that has no pieces, or more than a prompt has room for.
        """
        columns = [self._inspect(encoder, words, probes, count, check) for encoder in self._encoders]
        return list(zip(*columns, strict=True))

    def _inspect(
        self, encoder: TextEncoder, words: Sequence[str], probes: Sequence[str], count: int, check: Callable[[], None]
    ) -> list[EncoderFacts]:
        cuts = [self._cut(encoder, word) for word in (*words, *probes)]
        vectors = encoder.embed([piece for cut in cuts for piece in cut]).split([len(cut) for cut in cuts])
        asked = vectors[: len(words)]
        queries = [*asked, torch.stack([rows.mean(0) for rows in vectors])]
        scan = scan_table(encoder, torch.cat(queries), count + max(map(len, cuts)), check)
        of_pieces = _in_lengths(scan.nearest, [len(rows) for rows in asked])
        of_means = [_others(near, cut) for near, cut in zip(scan.nearest[-len(cuts) :], cuts, strict=True)]
        directions = word_directions(self._clip, encoder, cuts, cuts[len(words) :], check)
        cosines = directions @ directions[len(words) :].T
        usual = [usual_nearest([near[0].cosine for near in of_means[len(words) :] if near])]
        usual += [usual_nearest([near[0].cosine for near in _known(probes, probes, cosines[len(words) :], 1) if near])]
        outputs = _known(words, probes, cosines, max(1, count))
        return [
            EncoderFacts(
                encoder.name,
                _pieces(encoder, cut, rows, scan, near, count),
                tuple(of_means[number][:count]) if len(cut) > 1 else (),
                outputs[number],
                *usual,
            )
            for number, (cut, rows, near) in enumerate(zip(cuts, asked, of_pieces, strict=False))
        ]

    def _cut(self, encoder: TextEncoder, word: str) -> Pieces:
        """Return ids and, for a learned word, vectors; those of another width ComfyUI leaves out."""
        width = encoder.part.transformer.get_input_embeddings().weight.shape[1]
        pieces = word_pieces(self._clip, word)[encoder.tokenizer]
        found = [piece for piece in pieces if isinstance(piece, int) or piece.shape[-1] == width]
        if not 0 < len(found) <= _MOST_PIECES:
            raise ValueError(
                f"word: got {word[:60]!r}, {len(found)} tokens in {encoder.name}, allowed 1 to {_MOST_PIECES}, "
                "type another word"
            )
        return found


def _pieces(
    encoder: TextEncoder, cut: Pieces, rows: Tensor, scan: Scan, nearest: list[list[tuple[int, Near]]], count: int
) -> tuple[Piece, ...]:
    norms = (rows.norm(dim=1) / scan.median_norm).tolist()
    return tuple(
        Piece(*_named(encoder.vocabulary, piece), norm, tuple(_others(near, [piece])[:count]))
        for piece, norm, near in zip(cut, norms, nearest, strict=True)
    )


def _named(vocabulary: Vocabulary, piece: int | Tensor) -> tuple[int | None, str, int | None, str]:
    if not isinstance(piece, int):
        return None, "(learned vector)", None, "learned"
    return piece, vocabulary.texts.get(piece, "?"), vocabulary.rank(piece), vocabulary.frequency(piece)


def _others(near: list[tuple[int, Near]], cut: Pieces) -> list[Near]:
    own = {piece for piece in cut if isinstance(piece, int)}
    return [found for number, found in near if number not in own]


def _in_lengths(values: list, lengths: list[int]) -> list[list]:
    whole = iter(values)
    return [[next(whole) for _ in range(length)] for length in lengths]


def _known(words: Sequence[str], probes: Sequence[str], cosines: Tensor, count: int) -> list[tuple[Near, ...]]:
    """Return for each word the probes nearest to it, itself left out."""
    found = []
    for word, row in zip(words, cosines.tolist(), strict=False):
        near = [Near(probe, cosine) for probe, cosine in zip(probes, row, strict=True) if probe != word.lower()]
        found.append(tuple(sorted(near, key=lambda one: -one.cosine)[:count]))
    return found
