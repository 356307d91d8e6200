"""Textual inversion files that a prompt names with ``embedding:``, as ComfyUI's tokenizers look for them."""

import copy
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import folder_paths

_NAMED = re.compile(r"embedding:([^\s,():<\[]+)")
_ENDINGS = ("", ".safetensors", ".pt", ".bin")


def embedding_files(texts: Iterable[str]) -> dict[str, Path | None]:
    """Return the file of each embedding that `texts` name; None where there is none (ComfyUI then leaves it out)."""
    names = sorted({name for text in texts for name in _NAMED.findall(text)})
    return {name: _find(name) for name in names}


def without_embeddings(clip: Any) -> Any:
    """Return a CLIP to tokenize with, for which ``embedding:`` is ordinary text; the one given in stays as it is."""
    plain, tokenizer = copy.copy(clip), copy.copy(clip.tokenizer)
    for name, part in vars(clip.tokenizer).items():
        if getattr(part, "embedding_directory", None) is not None:
            part = copy.copy(part)
            part.embedding_directory = None
            setattr(tokenizer, name, part)
    plain.tokenizer = tokenizer
    return plain


def _find(name: str) -> Path | None:
    for folder in folder_paths.get_folder_paths("embeddings"):
        for place, _, _ in os.walk(folder, followlinks=True):
            for ending in _ENDINGS:
                path = Path(place, name + ending)
                if path.is_file() and folder_paths.is_within_directory(folder, str(path)):
                    return path
    return None
