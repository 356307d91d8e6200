"""Which weights, with what on them: JSON values that name a MODEL, CLIP or VAE for the content key of a run.

Weights that a core loader read from a file are named by the file (base name, size, time, hash of the safetensors
header); others by a hash of all their tensors, computed once per network and kept as long as the network lives.
Beside them stands a hash of what the graph put on top: weight patches, replaced objects (ModelSampling nodes),
options, wrappers, injections, hooks. Loading, unloading and cloning change nothing of it.

A network whose tensors were changed in place after its first hash is not noticed: nodes are not supposed to.
"""

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch

from .description import describe, fingerprint, tensor_hash

_TENSOR_HASHES: "WeakKeyDictionary[torch.nn.Module, str]" = WeakKeyDictionary()
_SAMPLED_BYTES = 1 << 20


def model_identity(model: Any) -> dict[str, Any]:
    """Return what names a MODEL: class, weights, patches, sampling settings, everything else on it."""
    return {
        "class": type(model.model).__name__,
        "model_type": str(getattr(model.model, "model_type", "")),
        "weights": _weights(model, "diffusion_model."),
        "sampling": sampling_identity(model.get_model_object("model_sampling")),
        "additions": _additions(model),
    }


def clip_identity(clip: Any) -> dict[str, Any]:
    """Return what names a CLIP: class, weights, patches, and the layer its conditioning is taken from."""
    return {
        "class": type(clip.cond_stage_model).__name__,
        "tokenizer": type(clip.tokenizer).__name__,
        "weights": _weights(clip.patcher, ""),
        "layer": clip.layer_idx,
        "tokenizer_options": describe(clip.tokenizer_options),
        "hooks": fingerprint([clip.apply_hooks_to_conds, clip.use_clip_schedule, clip.patcher.forced_hooks]),
        "additions": _additions(clip.patcher),
    }


def vae_identity(vae: Any) -> dict[str, Any]:
    """Return what names a VAE: class, dtype, weights, patches."""
    return {
        "class": type(vae.first_stage_model).__name__,
        "dtype": str(vae.vae_dtype),
        "weights": _weights(vae.patcher, ""),
        "additions": _additions(vae.patcher),
    }


def sampling_identity(sampling: Any) -> dict[str, Any]:
    """Return a `model_sampling` object as JSON: its classes (prediction and schedule), parameters, sigmas hash."""
    values = {key: _finite(part) for key, part in vars(sampling).items() if not key.startswith("_") and _is_plain(part)}
    values.pop("training", None)
    buffers = {name: tensor_hash(buffer) for name, buffer in sampling.named_buffers()}
    classes = [cls.__name__ for cls in type(sampling).__mro__ if cls not in (object, torch.nn.Module)]
    return {"classes": classes, "parameters": values, "buffers": buffers}


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _finite(value: Any) -> Any:
    """Return a plain value, infinity and NaN as text: JSON has no such numbers."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _weights(patcher: Any, prefix: str) -> dict[str, Any]:
    """Return the file a core loader read, with how it was read, or a hash of the unpatched tensors."""
    source = patcher.cached_patcher_init
    files = list(_files(source[1])) if source else []
    if files:
        loader = describe([source[0].__name__, _settings(source[1]), *source[2:]])
        return {"files": [file_identity(path) for path in files], "loader": fingerprint(loader)}
    return {"tensors": _tensors_hash(patcher, prefix)}


def _files(value: Any) -> Iterator[Path]:
    """Yield the files among a loader's arguments, in order."""
    if isinstance(value, str | os.PathLike) and os.path.isfile(value):
        yield Path(value)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _files(part)


def _settings(arguments: Iterable[Any]) -> list[Any]:
    """Return a loader's arguments without files and folders: where they lie says nothing about the weights."""
    return [value for value in arguments if not _names_places(value)]


def _names_places(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(_names_places(part) for part in value)
    return isinstance(value, str | os.PathLike) and (os.path.isabs(value) or os.path.isfile(value))


def file_identity(path: Path) -> dict[str, Any]:
    """Return base name, size in bytes, mtime in ns, and the SHA-256 of a safetensors file's header.

    Another format is hashed over its first and last MiB instead.
    """
    status = path.stat()
    with open(path, "rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if path.suffix.lower() in (".safetensors", ".sft") and length <= status.st_size:
            content = start + file.read(length)
        else:
            content = start + file.read(_SAMPLED_BYTES)
            file.seek(max(0, status.st_size - _SAMPLED_BYTES))
            content += file.read()
    return {
        "name": path.name,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "header_sha256": hashlib.sha256(content).hexdigest(),
    }


def _tensors_hash(patcher: Any, prefix: str) -> str:
    network = patcher.model
    if network not in _TENSOR_HASHES:
        _TENSOR_HASHES[network] = hash_tensors(unpatched_weights(patcher, prefix))
    return _TENSOR_HASHES[network]


def unpatched_weights(patcher: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return the network's own tensors by name, those under `prefix`, also while patches are merged into them."""
    weights = dict(patcher.model_state_dict(prefix or None))
    weights |= {key: saved.weight for key, saved in patcher.backup.items() if key in weights}
    weights |= {key: saved[0] for key, saved in patcher.hook_backup.items() if key in weights}
    return weights


def hash_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 (hex) over names, dtypes, shapes and bytes of named tensors, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name}:{tensor_hash(tensors[name])};".encode())
    return digest.hexdigest()


def _additions(patcher: Any) -> str:
    """Return a hash of everything the graph put on the network: two clones with the same have the same."""
    return fingerprint(
        {
            "patches": patcher.patches,
            "objects": {key: value for key, value in patcher.object_patches.items() if key != "model_sampling"},
            "weight_wrappers": patcher.weight_wrapper_patches,
            "options": patcher.model_options,
            "wrappers": patcher.wrappers,
            "injections": patcher.injections,
            "hooks": list(patcher.hook_patches.values()),
            "additional_models": patcher.additional_models,
        }
    )
