"""The words of a checkpoint as embedding files, where ``embedding:`` in a prompt finds them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from .atomic import write_beside
from .embedding_layout import embedding_file_name, embedding_metadata, embedding_tensors
from .lora_file import DTYPES, load_safetensors, safetensors_bytes
from .recipe import SaveDtype
from .run import Run
from .words import Vectors, prompt_text, split_bundle

WORD_DTYPES: tuple[str, ...] = tuple(sorted(get_args(SaveDtype), key=lambda dtype: dtype != "fp32"))


@dataclass(frozen=True)
class SavedEmbedding:
    """What was saved. token: the word in the run. vectors: how many. encoders: ComfyUI's names of them."""

    path: Path
    token: str
    step: int
    vectors: int
    encoders: tuple[str, ...]

    @property
    def prompt_text(self) -> str:
        """What to write in a prompt of ComfyUI."""
        return prompt_text(self.path.stem)

    def report(self) -> str:
        """Return what was saved and how to use it."""
        many = f"{self.vectors} vector{'s' if self.vectors > 1 else ''} for {' and '.join(self.encoders)}"
        size = f"{self.path.stat().st_size:,} bytes"
        return (
            f"Saved {self.token} of step {self.step} as {self.path.name} ({many}, {size}). "
            f"Put {self.prompt_text} into the prompt."
        )


def save_embeddings(
    run: Run,
    step: int,
    folder: Path,
    token: str = "",
    name: str = "",
    dtype: str = "fp32",
    is_taken: Callable[[Path], bool] = lambda path: False,
) -> tuple[SavedEmbedding, ...]:
    """Save the words of the checkpoint of `step` (-1: the last) in `folder`, one file each, metadata and all.

    token: one of them, in any of the ways a prompt may write it; "" takes all. name: of the file; "" takes the word,
    and with several words each is put behind the name. dtype: a key of `DTYPES`. is_taken: says whether a prompt that
    names the file could mean another one somewhere else. Nothing is overwritten: a name that is taken or has other
    bytes gets a counter, the same bytes are one file. Raises ValueError for a step, word or dtype that is not there,
    OSError when the disk is full.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype: got {dtype!r}, allowed {list(DTYPES)}, choose one of them")
    checkpoint = run.checkpoint(step)
    tensors, metadata = load_safetensors(checkpoint.path)
    chosen = _chosen(run, split_bundle(tensors)[1], token)
    saved = []
    for word, vectors in chosen.items():
        told = embedding_metadata(word, checkpoint.step, metadata)
        content = safetensors_bytes(embedding_tensors(vectors, DTYPES[dtype]), told)
        path = write_beside(folder, _stem(name, word, len(chosen) > 1), ".safetensors", content, is_taken)
        count = max(len(part) for part in vectors.values())
        saved.append(SavedEmbedding(path, word, checkpoint.step, count, tuple(vectors)))
    return tuple(saved)


def _stem(name: str, word: str, one_of_several: bool) -> str:
    if not name.strip():
        return embedding_file_name(word)
    own = embedding_file_name(name)
    return embedding_file_name(f"{own}-{word}") if one_of_several else own


def _chosen(run: Run, words: Mapping[str, Vectors], token: str) -> dict[str, Vectors]:
    """Return the word asked for, or all of them."""
    asked = token.strip().removeprefix("embedding:").removeprefix("<").removesuffix(">").lower()
    found = {word: vectors for word, vectors in words.items() if asked in ("", word.lower())}
    if not words:
        allowed = "allowed runs with textual inversion, open or train such a run"
        raise ValueError(f"run: got '{run.name}', which trained no words, {allowed}")
    if not found:
        raise ValueError(f"token: got {token!r}, allowed {list(words)}, or leave it empty for all")
    return found
