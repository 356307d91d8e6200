"""The vectors of new words while they are trained (textual inversion, Gal et al. 2022)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .model import TrainableText
from .randomness import normal
from .text_settings import ALL_ENCODERS, EmbeddingSettings
from .words import Vectors


class Embeddings:
    """The new words of a training. Only these vectors are trained and stored, never a row of the token table."""

    def __init__(
        self, text: TrainableText, settings: Sequence[EmbeddingSettings], files: Mapping[str, Vectors], seed: int
    ) -> None:
        """Start each word as its settings say; files: the vectors of words that go on from a file, by token.

        Raises ValueError for an encoder the model lacks, and for a file that does not fit.
        """
        self._settings = {each.token: each for each in settings}
        # A table may be half a gigabyte, and a copy: it is asked for once, and only where there are words.
        tables = {encoder: text.table(encoder) for encoder in text.encoders} if settings else {}
        self._median = {encoder: _median_norm(table) for encoder, table in tables.items()}
        self.vectors: dict[str, dict[str, Tensor]] = {}
        for each in settings:
            _require_encoder(each, text.encoders)
            starts = {encoder: _start(text, table, encoder, each, files, seed) for encoder, table in tables.items()}
            self.vectors[each.token] = {
                encoder: _value(start, each, encoder, text.device) for encoder, start in starts.items()
            }

    def parameters(self, token: str) -> dict[str, nn.Parameter]:
        """Return the trained vectors of one word as ``embedding.<token>.<encoder>``."""
        return {
            f"embedding.{token}.{encoder}": value
            for encoder, value in self.vectors[token].items()
            if isinstance(value, nn.Parameter)
        }

    def state(self) -> dict[str, Tensor]:
        """Return copies of all vectors, fp32 on the CPU, by the same names."""
        return {
            f"embedding.{token}.{encoder}": value.detach().to("cpu", copy=True)
            for token, parts in self.vectors.items()
            for encoder, value in parts.items()
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put the values of `state` back in. Raises KeyError if a vector is missing."""
        with torch.no_grad():
            for token, parts in self.vectors.items():
                for encoder, value in parts.items():
                    value.copy_(state[f"embedding.{token}.{encoder}"])

    def exported(self) -> dict[str, Vectors]:
        """Return the words' vectors as a checkpoint stores them."""
        return {
            token: {encoder: value.detach().to("cpu", copy=True) for encoder, value in parts.items()}
            for token, parts in self.vectors.items()
        }

    def pull(self, token: str) -> None:
        """Pull the lengths of a word's trained vectors towards the table's, as far as its settings say."""
        pull = self._settings[token].norm_pull
        if not pull:
            return
        with torch.no_grad():
            for encoder, value in self.vectors[token].items():
                if isinstance(value, nn.Parameter):
                    length = value.norm(dim=-1, keepdim=True).clamp(min=1e-12)
                    value.mul_((self._median[encoder] / length) ** pull)


def trains(settings: EmbeddingSettings, encoder: str) -> bool:
    """Say whether a word's vectors of this encoder are trained."""
    return settings.encoders in (ALL_ENCODERS, encoder)


def _start(
    text: TrainableText,
    table: Tensor,
    encoder: str,
    settings: EmbeddingSettings,
    files: Mapping[str, Vectors],
    seed: int,
) -> Tensor:
    """Return the vectors a word starts with, [num_vectors, width]. table: the encoder's token embeddings."""
    shape = (settings.num_vectors, table.shape[1])
    if settings.init == "file":
        return _from_file(files[settings.token], encoder, settings, shape)
    if settings.init == "noise":
        return normal(shape, seed, "embedding", settings.token, encoder) * table.std()
    ids = text.token_ids(encoder, settings.init_text)
    if not ids:
        raise ValueError(f"init_text: got {settings.init_text!r}, which has no token, allowed are words, write some")
    rows = table[ids]
    if settings.init == "mean of words":
        return rows.mean(dim=0, keepdim=True).repeat(settings.num_vectors, 1)
    return rows[[index % len(ids) for index in range(settings.num_vectors)]]


def _from_file(vectors: Vectors, encoder: str, settings: EmbeddingSettings, shape: tuple[int, int]) -> Tensor:
    found = vectors.get(encoder)
    if found is None or tuple(found.shape) != shape:
        got = f"no vectors for {encoder}" if found is None else f"{list(found.shape)} numbers for {encoder}"
        raise ValueError(
            f"init_file: got {settings.init_file} with {got}, allowed {shape[0]} vectors of {shape[1]} numbers, "
            "set num_vectors to the file's own or choose a file of this model's family"
        )
    return found


def _value(start: Tensor, settings: EmbeddingSettings, encoder: str, device: torch.device) -> Tensor:
    """Return vectors of their own, trainable or not."""
    if not torch.isfinite(start).all():
        raise ValueError(
            f"token {settings.token!r}: got a start that is not finite for {encoder}, allowed finite numbers, "
            "choose another start"
        )
    value = start.detach().to(device, torch.float32, copy=True)
    return nn.Parameter(value) if trains(settings, encoder) else value


def _median_norm(table: Tensor) -> float:
    return float(table.norm(dim=-1).median())


def _require_encoder(settings: EmbeddingSettings, encoders: tuple[str, ...]) -> None:
    if settings.encoders not in (ALL_ENCODERS, *encoders):
        raise ValueError(
            f"encoders of {settings.token!r}: got {settings.encoders!r}, allowed for this model "
            f"{[ALL_ENCODERS, *encoders]}, choose one of them"
        )
