"""Which tensors of an embedding file are whose vectors, in the forms that other programs write.

- A1111: ``string_to_param`` -> ``{"*": vectors}``.
- kohya, AI Toolkit: ``emb_params`` for SD1 and SD2; ``clip_l``, ``clip_g`` or ``t5xxl`` for models with more encoders.
- OneTrainer: ``emp_params`` (so spelt), ``clip_l``, ``clip_g``, ``t5``, each also with ``_out``; in a LoRA file
  ``bundle_emb.<placeholder>.<encoder>``. A1111 keeps ``bundle_emb.<placeholder>.string_to_param.*``.
- diffusers: the placeholder is the key; its trainer for SDXL writes a second file for the second encoder.
- cog: ``text_encoders_0``, ``text_encoders_1``.
- Others: lists of dicts, bare tensors.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .embedding_source import unreadable
from .words import split_bundle

# Encoder -> numbers in a token's vector, of the models at their full size.
WIDTHS: dict[str, int] = {"clip_l": 768, "clip_g": 1280, "clip_h": 1024, "t5xxl": 4096}
OUTPUT = "_out"

_ENCODERS = {"text_encoders_0": "clip_l", "text_encoders_1": "clip_g", "t5": "t5xxl"}
_NAMELESS = ("emb_params", "emp_params")
_LAYERS = (".weight", ".bias", ".alpha")
_SECOND = re.compile(r"(?<=learned_embeds)_2|_2$")


@dataclass(frozen=True)
class Part:
    """One tensor of a file. encoder: ComfyUI's name of it where the file tells it, "" where only the width does."""

    token: str
    encoder: str
    tensor: torch.Tensor


@dataclass(frozen=True)
class Form:
    """Whose form a file has, and its tensors. can_have_partner: the form says nothing of a second text encoder."""

    name: str
    parts: tuple[Part, ...]
    can_have_partner: bool = False


def form_of(path: Path, contents: Any, encoders: Mapping[str, int]) -> Form:
    """Return the form of what was read from `path`. encoders: names that a key may have besides those above.

    Raises ValueError with one sentence where there is no embedding in it.
    """
    if isinstance(contents, torch.Tensor):
        return Form("a bare tensor", (Part(path.stem, "", contents),))
    if isinstance(contents, list | tuple):
        return Form("a list", tuple(_listed(path.stem, contents)))
    if not isinstance(contents, dict):
        raise ValueError(unreadable(path, "it holds no tensors"))
    if "string_to_param" in contents:
        return Form("A1111", tuple(_a1111(path, contents)))
    tensors = {str(name): value for name, value in contents.items() if isinstance(value, torch.Tensor)}
    return _keyed(path, tensors, encoders)


def _listed(name: str, contents: Any) -> Iterator[Part]:
    entries = [entry for entry in contents if isinstance(entry, dict)]
    for tensor in (value for entry in entries for value in entry.values()):
        if isinstance(tensor, torch.Tensor):
            yield Part(name, "", tensor)


def _a1111(path: Path, contents: dict[Any, Any]) -> Iterator[Part]:
    params = contents["string_to_param"]
    params = getattr(params, "_parameters", params)  # a ParameterDict of an old torch knows its keys no more
    if not isinstance(params, dict) or not all(isinstance(value, torch.Tensor) for value in params.values()):
        raise ValueError(unreadable(path, "its string_to_param holds no tensors"))
    name = contents.get("name")
    own = name if isinstance(name, str) and name else path.stem
    for key, tensor in params.items():
        yield Part(own if key == "*" else _word(str(key)), "", tensor)


def _keyed(path: Path, tensors: Mapping[str, torch.Tensor], encoders: Mapping[str, int]) -> Form:
    carried = split_bundle(tensors)[1]
    if carried:
        return Form("a LoRA file", tuple(_carried(carried)))
    known = {*encoders, *WIDTHS, *_ENCODERS, *_NAMELESS}
    if any(name.removesuffix(OUTPUT) in known for name in tensors):
        parts = tuple(Part(path.stem, _encoder(name), tensor) for name, tensor in tensors.items())
        return Form("kohya" if _NAMELESS[0] in tensors else "by encoder", parts)
    if not tensors or any(name.endswith(_LAYERS) or tensor.dim() > 2 for name, tensor in tensors.items()):
        raise ValueError(unreadable(path, "it holds no embedding"))
    parts = tuple(Part(_word(name), "", tensor) for name, tensor in tensors.items())
    return Form("diffusers", parts, can_have_partner=len(parts) == 1)


def _carried(words: Mapping[str, Mapping[str, torch.Tensor]]) -> Iterator[Part]:
    for start, parts in words.items():
        for rest, tensor in parts.items():
            *more, key = rest.replace("string_to_param.*", _NAMELESS[0]).split(".")  # a placeholder may have dots
            yield Part(_word(".".join([start, *more])), _encoder(key), tensor)


def _encoder(key: str) -> str:
    return "" if key in _NAMELESS else _ENCODERS.get(key, key)


def _word(placeholder: str) -> str:
    """Return the word of a placeholder such as ``<cat-toy>``."""
    return placeholder.strip().removeprefix("<").removesuffix(">") or placeholder


def pair_of(path: Path) -> tuple[Path, Path]:
    """Return the names that `path` and its partner, either of which may not exist, have as diffusers' pair for SDXL."""
    if _SECOND.search(path.stem):
        return path.with_stem(_SECOND.sub("", path.stem, count=1) or path.stem), path
    if "learned_embeds" in path.stem:
        return path, path.with_stem(path.stem.replace("learned_embeds", "learned_embeds_2"))
    return path, path.with_stem(f"{path.stem}_2")
