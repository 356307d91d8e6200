"""Textual inversion files of any program, read as words; see `embedding_forms` for what they look like."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .embedding_forms import OUTPUT, WIDTHS, Form, Part, form_of, pair_of
from .embedding_source import embedding_contents

MOST_VECTORS = 1024


@dataclass(frozen=True)
class EmbeddingFile:
    """What an embedding file holds.

    words: token -> vectors; where the file tells no name the token is the file's. form: which program writes such.
    step: updates made, None where the file does not say. base_model: what it was trained on, or "". notes: sentences
    on what was left out. files: what was read, two for a pair.
    """

    words: dict[str, dict[str, torch.Tensor]]
    form: str
    step: int | None
    base_model: str
    notes: tuple[str, ...]
    files: tuple[Path, ...]


def read_embedding(path: Path, widths: Mapping[str, int] | None = None) -> EmbeddingFile:
    """Return the words of an embedding file, or of a LoRA file that carries embeddings: fp32, on the CPU, finite.

    widths: encoder -> width of the model at hand; vectors for an encoder that it does not have are left out with a
    note. None: `WIDTHS`. Which encoder a tensor is for is told by its key, else by its width; where two encoders are
    equally wide the first that has none yet gets it. Of diffusers' pair for SDXL either file may be named.
    Raises ValueError with one sentence for a file that is damaged or no embedding, and for vectors that do not fit
    the model, are not finite or more than `MOST_VECTORS`.
    """
    known = dict(WIDTHS if widths is None else widths)
    contents, metadata = embedding_contents(path)
    form = form_of(path, contents, known)
    files, parts = _with_partner(path, form, known) if form.can_have_partner else ((path,), form.parts)
    reader = _Reader(path.name, known)
    for part in parts:
        reader.add(part)
    if not reader.words:
        had = sorted({part.encoder for part in parts if part.encoder}) or "no vectors"
        raise ValueError(f"{path.name}: got {had}, allowed {reader.allowed}, choose an embedding for this model")
    told = {**metadata, **(contents if isinstance(contents, dict) else {})}
    return EmbeddingFile(reader.words, form.name, _step(told), _base_model(told), tuple(reader.notes), files)


def _with_partner(path: Path, form: Form, widths: Mapping[str, int]) -> tuple[tuple[Path, ...], tuple[Part, ...]]:
    """Return the files and parts of diffusers' pair, where beside `path` lies the same word for another encoder."""
    pair = pair_of(path)
    other = pair[0] if path == pair[1] else pair[1]
    if other == path or not other.is_file():
        return (path,), form.parts
    partner = form_of(other, embedding_contents(other)[0], widths)
    parts = form.parts + partner.parts if path == pair[0] else partner.parts + form.parts
    if partner.can_have_partner and len({part.token for part in parts}) == 1 and _both_fit(parts, widths):
        return pair, parts
    return (path,), form.parts


def _both_fit(parts: tuple[Part, ...], widths: Mapping[str, int]) -> bool:
    wanted = [part.tensor.shape[-1] if part.tensor.dim() else 0 for part in parts]
    return all(list(widths.values()).count(width) >= wanted.count(width) for width in wanted)


class _Reader:
    """Puts the parts of a file in order, and refuses what is no embedding of the model."""

    def __init__(self, name: str, widths: Mapping[str, int]) -> None:
        self.words: dict[str, dict[str, torch.Tensor]] = {}
        self.notes: list[str] = []
        self.allowed = " or ".join(f"{width} ({encoder})" for encoder, width in widths.items())
        self._name = name
        self._widths = widths

    def add(self, part: Part) -> None:
        """Keep the vectors of `part`, or a note on why not."""
        if part.encoder.endswith(OUTPUT):
            self.notes.append(f"{self._name}: {part.encoder} is left out, it follows the text encoder and is no token.")
        elif part.encoder and part.encoder not in self._widths:
            self.notes.append(f"{self._name}: {part.encoder} is left out, the model has no such text encoder.")
        else:
            self._keep(part)

    def _keep(self, part: Part) -> None:
        self._check_kind(part)
        vectors = part.tensor.detach().reshape(-1, part.tensor.shape[-1]).to(torch.float32, copy=True)
        if not torch.isfinite(vectors).all():
            raise self._refusal(part, "vectors with numbers that are not finite", "finite ones, choose another file")
        mine = self.words.setdefault(part.token, {})
        encoder = part.encoder or self._encoder(part, mine)
        mine[encoder] = torch.cat([mine[encoder], vectors]) if encoder in mine else vectors
        if len(mine[encoder]) > MOST_VECTORS:
            raise self._refusal(part, f"{len(mine[encoder])} vectors", f"1 to {MOST_VECTORS}, choose an embedding")

    def _check_kind(self, part: Part) -> None:
        tensor = part.tensor
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not plain or not tensor.is_floating_point() or tensor.dim() not in (1, 2):
            got = f"a tensor of {tensor.dtype} with {tensor.dim()} dimensions"
            raise self._refusal(part, got, "floating point vectors, choose an embedding")
        allowed = {self._widths[part.encoder]} if part.encoder else set(self._widths.values())
        if tensor.shape[-1] not in allowed:
            raise self._refusal(part, f"vectors of width {tensor.shape[-1]}", self._fitting(part))
        count = tensor.numel() // tensor.shape[-1]
        if not 1 <= count <= MOST_VECTORS:
            raise self._refusal(part, f"{count} vectors", f"1 to {MOST_VECTORS}, choose an embedding")

    def _fitting(self, part: Part) -> str:
        width = f"{self._widths[part.encoder]} ({part.encoder})" if part.encoder else self.allowed
        return f"{width}, choose an embedding for this model"

    def _encoder(self, part: Part, mine: Mapping[str, torch.Tensor]) -> str:
        """Return the encoder of that width, one without vectors if there is one."""
        fitting = [encoder for encoder, width in self._widths.items() if width == part.tensor.shape[-1]]
        return next((encoder for encoder in fitting if encoder not in mine), fitting[0])

    def _refusal(self, part: Part, got: str, allowed: str) -> ValueError:
        return ValueError(f"{self._name}: got {got} for {part.token!r}, allowed {allowed}")


def _step(told: Mapping[Any, Any]) -> int | None:
    for key in ("glitch_lora.step", "ss_steps", "step"):
        try:
            value = float(told[key])
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(value) and value >= 0:
            return int(value)
    return None


def _base_model(told: Mapping[Any, Any]) -> str:
    for key in ("ss_sd_model_name", "sd_checkpoint_name"):
        value = told.get(key)
        if isinstance(value, str) and value.strip('"') not in ("", "null", "None"):  # AI Toolkit writes JSON
            return value.strip('"')
    return ""
