"""Textual inversion files that a prompt names with ``embedding:``, as ComfyUI's tokenizers look for them."""

import copy
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import folder_paths

from .model_files import listed_file

_NAMED = re.compile(r"embedding:([^\s,():<\[]+)")
_ENDINGS = ("", ".safetensors", ".pt", ".bin")
_READABLE = (".safetensors", ".sft", ".pt", ".bin")


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


def embedding_names() -> list[str]:
    """Return the names of all embedding files that can be read, below ComfyUI's embeddings folders."""
    return [name for name in folder_paths.get_filename_list("embeddings") if name.lower().endswith(_READABLE)]


def embedding_path(name: str) -> Path:
    """Return where the embedding file called `name` is. Raises ValueError for one that is not in `embedding_names`."""
    return listed_file("embeddings", name, embedding_names(), "embedding", "copy one")


def is_named_elsewhere(path: Path) -> bool:
    """Say whether ``embedding:`` with the name of `path` may mean another file: ComfyUI searches in no fixed order."""
    names = {(path.stem + ending).lower() for ending in _ENDINGS}
    for folder in folder_paths.get_folder_paths("embeddings"):
        for place, _, files in os.walk(folder, followlinks=True):
            found = [os.path.join(place, name) for name in files if name.lower() in names]
            if any(os.path.realpath(other) != os.path.realpath(path) for other in found):
                return True
    return False


def _find(name: str) -> Path | None:
    for folder in folder_paths.get_folder_paths("embeddings"):
        for place, _, _ in os.walk(folder, followlinks=True):
            for ending in _ENDINGS:
                path = Path(place, name + ending)
                if path.is_file() and folder_paths.is_within_directory(folder, str(path)):
                    return path
    return None
