"""New words: their vectors, how prompts write them, and how a checkpoint carries them beside the LoRA."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from torch import Tensor

# Of one word: ComfyUI's name of a text encoder ("clip_l", "clip_g", "t5xxl") -> [num_vectors, width], fp32, CPU.
Vectors: TypeAlias = Mapping[str, Tensor]

# OneTrainer's form of embeddings inside a LoRA file, which A1111 and ComfyUI read too.
_BUNDLE = "bundle_emb."
# What may stand right behind a name: 's, quotes, punctuation.
_FOLLOWING = re.compile(r"(?:['’]s)?[^\w-]*$")


def rewrite(text: str, tokens: Iterable[str], write: Callable[[str], str]) -> str:
    """Return `text` with each of `tokens` replaced by ``write(token)``, in any of the ways a prompt may write it.

    These are the word itself (whole, in any case of letters), ``<word>`` and ``embedding:word``. Names of other
    embeddings are left alone, also when they contain the word.
    """
    known = {token.lower(): token for token in tokens}
    if not known:
        return text
    words = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
    pattern = rf"embedding:(?P<named>[^\s,():<>\[\]]+)|<(?P<held>{words})>|(?<!\w)(?P<plain>{words})(?!\w)"

    def replaced(match: re.Match[str]) -> str:
        name = match["named"] or match["held"] or match["plain"]
        rest = ""
        if match["named"] and name.lower() not in known:  # a sentence may go on or end with it
            name = _FOLLOWING.sub("", name)
            rest = match["named"][len(name) :]
        return write(known[name.lower()]) + rest if name.lower() in known else match[0]

    return re.sub(pattern, replaced, text, flags=re.IGNORECASE)


def mentions(text: str, token: str) -> bool:
    """Say whether `text` writes the word `token` in any of the ways of `rewrite`."""
    return rewrite(text, [token], lambda _: "\0") != text


def plain_words(text: str, tokens: Iterable[str]) -> str:
    """Return `text` with every way of writing one of `tokens` turned into the word alone."""
    return rewrite(text, tokens, lambda token: token)


def prompt_text(token: str) -> str:
    """Return what to write in a prompt of ComfyUI for the embedding file of `token`."""
    return f"embedding:{token}"


def bundled(words: Mapping[str, Vectors]) -> dict[str, Tensor]:
    """Return the tensors with which a LoRA file carries `words`, named ``bundle_emb.<token>.<encoder>``."""
    return {
        f"{_BUNDLE}{token}.{encoder}": vectors for token, parts in words.items() for encoder, vectors in parts.items()
    }


def split_bundle(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """Return the LoRA's own tensors of a file and, by token, the vectors of the words it carries."""
    lora: dict[str, Tensor] = {}
    words: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        token, _, encoder = name.removeprefix(_BUNDLE).partition(".")
        if name.startswith(_BUNDLE) and encoder:
            words.setdefault(token, {})[encoder] = tensor
        else:
            lora[name] = tensor
    return lora, words
