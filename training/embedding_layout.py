"""The embedding files we write: the layout and names that ComfyUI's tokenizers find, kohya's and A1111's metadata."""

import re
from collections.abc import Mapping

import torch

from .file_names import safe_name
from .lora_file import cast_lora
from .words import Vectors

_ALONE = ("clip_l", "clip_h")
_KEPT = (
    *("glitch_lora.recipe", "glitch_lora.dataset_fingerprint"),
    *("modelspec.implementation", "modelspec.resolution", "modelspec.prediction_type", "modelspec.encoder_layer"),
    *(
        "modelspec.sai_model_spec",
        "ss_sd_model_name",
        "ss_base_model_version",
        "ss_v2",
        "ss_clip_skip",
        "ss_resolution",
    ),
    *("ss_output_name", "ss_seed", "ss_training_comment", "ss_v_parameterization"),
)


def embedding_tensors(vectors: Vectors, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Return the tensors of an embedding file, each [num_vectors, width], on the CPU.

    ``emb_params`` for SD1 and SD2, whose one encoder every reader knows by width; else one tensor for each encoder
    under ComfyUI's name of it (``clip_l`` and ``clip_g``; ``clip_l`` and ``t5xxl``). Raises ValueError for a value
    that does not fit `dtype`.
    """
    alone = len(vectors) == 1 and next(iter(vectors)) in _ALONE
    return cast_lora({"emb_params" if alone else encoder: tensor for encoder, tensor in vectors.items()}, dtype)


def embedding_metadata(token: str, step: int, checkpoint: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata of one word's file: A1111's and the standard's fields, and what the checkpoint's told.

    checkpoint: the metadata of the checkpoint that holds the word. Every value is a string, nothing is volatile.
    """
    metadata = {key: checkpoint[key] for key in _KEPT if key in checkpoint}
    architecture = checkpoint.get("modelspec.architecture", "")
    if architecture:
        metadata["modelspec.architecture"] = architecture.rsplit("/", 1)[0] + "/textual-inversion"
    if base_model := checkpoint.get("ss_sd_model_name"):
        metadata["sd_checkpoint_name"] = base_model
    metadata |= {"name": token, "step": str(step), "string_to_token": '{"*": 265}', "ss_steps": str(step)}
    metadata |= {"glitch_lora.trigger": token, "glitch_lora.step": str(step)}
    metadata |= {"modelspec.title": token, "modelspec.trigger_phrase": token}
    metadata["modelspec.usage_hint"] = "In ComfyUI put embedding: and the name of this file into the prompt."
    return dict(sorted(metadata.items()))


def embedding_file_name(wish: str) -> str:
    """Return `wish` as a file name, without ending, that a prompt can hold after ``embedding:``.

    Only letters, digits, ``_``, ``-`` and dots within, "word" if none is left: ComfyUI ends a name at a space, a
    comma, ``<`` or ``[``, reads brackets and colons as weights, and its canvas reads ``{a|b}`` as a choice.
    """
    stem = wish.strip().removesuffix(".safetensors")
    return safe_name(re.sub(r"[^\w.-]+", "-", stem).strip("-. "), "word")
