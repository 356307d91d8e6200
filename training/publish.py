"""A checkpoint as a file of its own, under a name of the user's, where Load LoRA finds it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from .atomic import write_beside
from .file_names import safe_name
from .lora_file import DTYPES, cast_lora, load_safetensors, safetensors_bytes
from .recipe import SaveDtype
from .run import Run
from .words import bundled, prompt_text, rewrite, split_bundle

Keep = Literal["keep"]
DTYPE_CHOICES: tuple[str, ...] = (*get_args(Keep), *get_args(SaveDtype))
Words = Literal["leave out", "bundle"]
WORD_CHOICES: tuple[str, ...] = get_args(Words)


@dataclass(frozen=True)
class SavedLora:
    """What was saved. name: as Load LoRA lists it, relative to the folder of LoRA files. trigger: a word or "".

    words: those the run trained too. bundled: whether the file carries them.
    """

    path: Path
    name: str
    step: int
    trigger: str
    words: tuple[str, ...] = ()
    bundled: bool = False

    def report(self) -> str:
        """Return what was saved and how to use it."""
        use = f"Put {self.trigger} into the prompt." if self.trigger else "It was trained without a trigger word."
        if self.words:
            texts = [prompt_text(word) for word in self.words]
            listed = ", ".join(texts)
            use = f"It was trained with {listed}: save those with Save Embedding and put them into the prompt."
            trigger = rewrite(self.trigger, self.words, prompt_text)
            use += f" Its trigger is {trigger}." if trigger and trigger not in texts else ""
        if self.bundled:
            use += " The file carries them too, for programs that read bundle_emb; ComfyUI does not."
        return f"Saved step {self.step} as {self.name} ({self.path.stat().st_size:,} bytes). {use}"


def save_lora(
    run: Run, step: int, loras_folder: Path, name: str = "", dtype: str = "keep", words: str = WORD_CHOICES[0]
) -> SavedLora:
    """Save the checkpoint of `step` (-1: the last) in `loras_folder`, metadata and all, as `name`.safetensors.

    name: "sub/folder/name" makes folders; "" takes the checkpoint's own. dtype: "keep" or a key of `DTYPES`; it is
    that of the LoRA, vectors of words stay fp32. words: whether the file carries the words that were trained with it,
    one of `WORD_CHOICES`. Nothing is overwritten: other bytes under the same name get a counter, the same bytes are
    one file. Raises ValueError for a step or dtype that is not there and for a run that trained only words, OSError
    when the disk is full.
    """
    for given, allowed, what in ((dtype, DTYPE_CHOICES, "dtype"), (words, WORD_CHOICES, "embeddings")):
        if given not in allowed:
            raise ValueError(f"{what}: got {given!r}, allowed {list(allowed)}, choose one of them")
    checkpoint = run.checkpoint(step)
    tensors, metadata = load_safetensors(checkpoint.path)
    lora, trained = split_bundle(tensors)
    if trained and not lora:
        raise ValueError(
            f"run: got '{run.name}', which trained only {', '.join(trained)} and no LoRA, allowed runs with a LoRA, "
            "save its words with Save Embedding"
        )
    carried = bundled(trained) if words == "bundle" else {}
    if dtype != "keep":
        lora = cast_lora(lora, DTYPES[dtype])
    unchanged = dtype == "keep" and len(lora) + len(carried) == len(tensors)
    content = checkpoint.path.read_bytes() if unchanged else safetensors_bytes(lora | carried, metadata)
    *folders, last = [safe_name(part, "lora") for part in _parts(name)] or [checkpoint.path.stem]
    path = write_beside(loras_folder.joinpath(*folders), last.removesuffix(".safetensors"), ".safetensors", content)
    trigger = metadata.get("glitch_lora.trigger") or run.trigger
    file = str(path.relative_to(loras_folder))
    return SavedLora(path, file, checkpoint.step, trigger, tuple(trained), bool(carried))


def _parts(name: str) -> list[str]:
    return [part for part in name.strip().replace("\\", "/").split("/") if part.strip(" .")]
