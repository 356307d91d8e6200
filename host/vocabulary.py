"""The vocabulary of a text encoder: what its tokens say, how common they are, and its table of embeddings."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..dataset.trigger_facts import Near
from .tokens import part_of, word_pieces

_END, _BEGINNING = "</w>", "▁"  # CLIP marks where a word ends, T5 where it begins
_CLIP_LETTERS, _T5_SPECIAL = 512, 3  # ids below: the bytes, each also as the end of a word; pad, end, unknown
_SPECIAL = re.compile(r"|<\|.*\|>|<extra_id_\d+>|<pad>|<unk>|</s>")
_CLASSES = ((1_000, "very common"), (5_000, "common"), (20_000, "uncommon"))
_RARE = "rare"
_ROWS = 4096  # of the table at once
# Ruiz et al. 2023, DreamBooth, section 3.2: T5 ids from which rare tokens of at most 3 letters are drawn.
_DREAMBOOTH = range(5_000, 10_001)


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one tokenizer by id.

    CLIP's are numbered in the order in which byte pair encoding merged them, most frequent pair first; T5's by the
    probability that SentencePiece gave them. Both say how common a piece was in the texts the vocabulary was made
    from, not how well the model knows it.
    """

    texts: dict[int, str]

    @cached_property
    def is_clip(self) -> bool:
        """Whether the ends of words are marked, as in CLIP's vocabulary."""
        return any(text.endswith(_END) for text in self.texts.values())

    @cached_property
    def words(self) -> dict[int, str]:
        """The tokens that are whole words of two letters or more, by id, without the mark; CLIP's in a to z only.

        CLIP's other letters are written as bytes, which nobody could read.
        """
        found = {number: self._as_word(text) for number, text in self.texts.items()}
        readable = {number: word for number, word in found.items() if len(word) > 1 and word.isalpha()}
        return {number: word for number, word in readable.items() if word.isascii() or not self.is_clip}

    def rank(self, number: int) -> int | None:
        """Return the place of a token in the order of frequency, from 0; None for letters and special tokens."""
        first = _CLIP_LETTERS if self.is_clip else _T5_SPECIAL
        return None if number < first or self._is_special(number) else number - first

    def frequency(self, number: int) -> str:
        """Return the rank in words: very common (below 1,000), common (5,000), uncommon (20,000), rare.

        CLIP's first 512 tokens, which have no rank, are letters (bytes), and what is no text is special.
        """
        if self._is_special(number):
            return "special"
        rank = self.rank(number)
        if rank is None:
            return "letter"
        return next((name for limit, name in _CLASSES if rank < limit), _RARE)

    def rare_tokens(self) -> list[str]:
        """Return the rare tokens that are whole words of 2 or 3 letters a to z, in the order of ids.

        Rare is what DreamBooth takes for T5: ids 5,000 to 10,000. It names no range for CLIP, whose vocabulary is
        another; there it is the class rare.
        """
        rare = (lambda number: self.frequency(number) == _RARE) if self.is_clip else _DREAMBOOTH.__contains__
        return [
            word for number, word in sorted(self.words.items()) if rare(number) and re.fullmatch("[a-z]{2,3}", word)
        ]

    def emptiness(self, pieces: Sequence[Any]) -> float:
        """Return how little a word cut into `pieces` brings along: the share of tokens more common than any piece.

        0 if it is one piece, more than four, or has a piece whose letters are a word of their own.
        """
        if not 2 <= len(pieces) <= 4 or any(self._letters(piece) in self._meanings for piece in pieces):
            return 0.0
        return min(self.rank(piece) or 0 for piece in pieces) / len(self.texts)

    @cached_property
    def _meanings(self) -> frozenset[str]:
        """The whole words of four letters or more, and those of three that are not rare, mostly abbreviations."""
        return frozenset(
            word for number, word in self.words.items() if len(word) > (3 if self.frequency(number) == _RARE else 2)
        )

    def _is_special(self, number: int) -> bool:
        return _SPECIAL.fullmatch(self.texts.get(number, "")) is not None

    def _letters(self, piece: Any) -> str:
        return self.texts.get(piece, "").removesuffix(_END).removeprefix(_BEGINNING)

    def _as_word(self, text: str) -> str:
        marked = text.endswith(_END) if self.is_clip else text.startswith(_BEGINNING)
        return text.removesuffix(_END).removeprefix(_BEGINNING) if marked else ""


@dataclass(frozen=True)
class TextEncoder:
    """One text encoder of a CLIP: ComfyUI's name of it, its model, its vocabulary, and where it computes."""

    name: str
    tokenizer: str
    part: Any
    vocabulary: Vocabulary
    device: torch.device

    def embed(self, pieces: Sequence[int | Tensor]) -> Tensor:
        """Return the embeddings [pieces, width] in fp32: rows of the table, patches on it applied, or the vectors."""
        numbers = [piece if isinstance(piece, int) else 0 for piece in pieces]
        table = self.part.transformer.get_input_embeddings()
        rows = table(torch.tensor(numbers, dtype=torch.long, device=self.device), out_dtype=torch.float32).clone()
        for place, piece in enumerate(pieces):
            if isinstance(piece, Tensor):
                rows[place] = piece.to(rows)
        return rows


@dataclass(frozen=True)
class Scan:
    """What a look through a table found: the median norm of its rows, and the nearest words of each query."""

    median_norm: float
    nearest: list[list[tuple[int, Near]]]


def text_encoders(clip: Any) -> list[TextEncoder]:
    """Return the text encoders of a CLIP, ready to compute, CLIP-L first, those that are no CLIP last.

    Encoders that wrap a prompt in a template (language models) are left out: there is no word alone for them.
    """
    clip.load_model()
    model, found = clip.cond_stage_model, []
    for name, template in word_pieces(clip, "").items():
        tokenizer, part = part_of(clip.tokenizer, name), part_of(model, name)
        if template or part is None or not hasattr(tokenizer, "inv_vocab"):
            continue
        vocabulary = Vocabulary(tokenizer.inv_vocab)
        found.append(TextEncoder(tokenizer.embedding_key, name, part, vocabulary, clip.patcher.load_device))
    return sorted(found, key=lambda encoder: (not encoder.vocabulary.is_clip, encoder.name != "clip_l"))


@torch.no_grad()
def scan_table(encoder: TextEncoder, queries: Tensor, count: int, check: Callable[[], None]) -> Scan:
    """Return the `count` whole words of the vocabulary nearest to each of `queries` [n, width] by cosine.

    The table is read a few thousand rows at a time; `check` is called before each and may raise to stop.
    """
    words = encoder.vocabulary.words
    numbers = [number for number in encoder.vocabulary.texts if encoder.vocabulary.frequency(number) != "special"]
    directions = torch.nn.functional.normalize(queries, dim=1)
    best = torch.empty(len(queries), 0, device=encoder.device)
    places = torch.empty(len(queries), 0, dtype=torch.long, device=encoder.device)
    norms = []
    for start in range(0, len(numbers), _ROWS):
        check()
        chunk = numbers[start : start + _ROWS]
        rows = encoder.embed(chunk)
        norms.append(rows.norm(dim=1).cpu())
        named = torch.tensor([place for place, number in enumerate(chunk) if number in words], device=encoder.device)
        if len(named) and len(queries):
            cosines = directions @ torch.nn.functional.normalize(rows[named], dim=1).T
            best, places = torch.cat([best, cosines], 1), torch.cat([places, (named + start).expand(cosines.shape)], 1)
            best, order = best.topk(min(count, best.shape[1]))
            places = places.gather(1, order)
    found = zip(best.tolist(), places.tolist(), strict=True)
    nearest = [[(numbers[p], Near(words[numbers[p]], c)) for c, p in zip(*row, strict=True)] for row in found]
    return Scan(float(torch.cat(norms).median()), nearest)
