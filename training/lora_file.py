"""LoRA files that other programs read: tensor names, metadata, and writing them whole or not at all.

Names follow what is in use: kohya (`<prefix>.lora_down.weight`, `.lora_up.weight`, `.alpha`) for UNets and
`diffusion_model.<module>.lora_A.weight`, `.lora_B.weight`, `.alpha` for diffusion transformers. The metadata are
kohya's `ss_*`, the `modelspec.*` of Stability AI's model metadata standard 1.0.1, and our own `glitch_lora.*`.
Nothing volatile is written: the same training gives the same bytes.
"""

import json
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from .atomic import write_file
from .recipe import Recipe
from .text_report import text_metadata

Style = Literal["kohya", "diffusion_model"]
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Adapter:
    """The two factors of one layer: the layer's weight changes by ``alpha / r * up @ down``.

    Linear: down [r, in], up [out, r]. Convolution: down [r, in, kh, kw], up [out, r, 1, 1].
    """

    down: torch.Tensor
    up: torch.Tensor
    alpha: float


@dataclass(frozen=True)
class FamilyWords:
    """What the metadata standards call a model family."""

    base_model_version: str
    architecture: str
    implementation: str
    style: Style


_SGM = "https://github.com/Stability-AI/generative-models"
_FLUX = "https://github.com/black-forest-labs/flux"
_COMFYUI = "https://github.com/Comfy-Org/ComfyUI"
FAMILY_WORDS = {
    "sd15": FamilyWords("sd_v1", "stable-diffusion-v1/lora", _SGM, "kohya"),
    "sdxl": FamilyWords("sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", _SGM, "kohya"),
    "flux": FamilyWords("flux1", "flux-1-dev/lora", _FLUX, "diffusion_model"),
    "flux-schnell": FamilyWords("flux1", "flux-1-schnell/lora", _FLUX, "diffusion_model"),
    # Shaped like SD1.5 and no SD1.5: its LoRAs fit no other model, and say so.
    "glitch-demo": FamilyWords("glitch_demo", "glitch-demo/lora", _COMFYUI, "kohya"),
}

_SUFFIXES: dict[str, tuple[str, str]] = {
    "kohya": (".lora_down.weight", ".lora_up.weight"),
    "diffusion_model": (".lora_A.weight", ".lora_B.weight"),
}


def lora_state_dict(
    adapters: Mapping[str, Adapter], names: Mapping[str, str], style: Style, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Return the tensors of a LoRA file, on the CPU, factors in `dtype` and alphas in fp32.

    names: module path -> prefix in the file (`host.lora_keys.lora_names`). Raises ValueError for a module without a
    name, and for a value that does not fit `dtype` (fp16 ends at 65504).
    """
    unnamed = sorted(set(adapters) - set(names))
    if unnamed:
        raise ValueError(f"LoRA file: got adapters on {unnamed[:5]}, allowed {len(names)} named layers, leave them out")
    tensors: dict[str, torch.Tensor] = {}
    for module, adapter in adapters.items():
        prefix = names[module]
        # Text encoders have kohya's names in every family.
        down_suffix, up_suffix = _SUFFIXES["kohya" if prefix.startswith("lora_") else style]
        tensors[prefix + down_suffix] = _cast(prefix + down_suffix, adapter.down, dtype)
        tensors[prefix + up_suffix] = _cast(prefix + up_suffix, adapter.up, dtype)
        tensors[prefix + ".alpha"] = torch.tensor(float(adapter.alpha), dtype=torch.float32)
    return tensors


def cast_lora(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the tensors of a LoRA file with its factors in another dtype; alphas stay as they are."""
    return {name: tensor if name.endswith(".alpha") else _cast(name, tensor, dtype) for name, tensor in tensors.items()}


def _cast(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    cast = tensor.detach().to(device="cpu", dtype=dtype, copy=True).contiguous()
    if not torch.isfinite(cast).all() and torch.isfinite(tensor).all():
        allowed = torch.finfo(dtype).max
        raise ValueError(
            f"{name}: got {tensor.abs().max().item():.6g}, allowed up to {allowed:.6g} in {dtype}, save as bf16 or fp32"
        )
    return cast


def lora_metadata(
    *,
    name: str,
    step: int,
    family: str,
    recipe: Recipe,
    trigger: str = "",
    dataset_fingerprint: str = "",
    base_model: str = "",
    resolution: tuple[int, int] | None = None,
    prediction_type: str = "",
    clip_skip: int | None = None,
    captions: Sequence[str] = (),
    dataset_folders: Mapping[str, tuple[int, int]] | None = None,
    encoders: Sequence[str] = (),
) -> dict[str, str]:
    """Return the metadata of one checkpoint, only what is known, every value a string, nothing volatile.

    name: of the run. step: updates made so far. family: a key of `FAMILY_WORDS`, others give no architecture.
    base_model: file name of the base (no path). resolution: (width, height) in pixels of the largest training size.
    prediction_type: "epsilon", "v" or "flow". clip_skip: as in CLIP Set Last Layer (-2 is the last but one), None
    when the CLIP has its own default. captions: of the whole dataset, as trained. dataset_folders: folder name ->
    (repeats, number of pictures). encoders: ComfyUI's names of the text encoders with adapters in the file.
    """
    words = FAMILY_WORDS.get(family)
    metadata = _kohya_metadata(name, step, recipe, words, base_model, prediction_type)
    metadata |= _modelspec_metadata(name, words, trigger, resolution, prediction_type)
    metadata |= text_metadata(recipe, encoders)
    if clip_skip is not None:
        metadata |= {"ss_clip_skip": str(-clip_skip), "modelspec.encoder_layer": str(-clip_skip)}
    if resolution:
        metadata["ss_resolution"] = f"({resolution[0]}, {resolution[1]})"
    if captions:
        metadata["ss_tag_frequency"] = _json({name: tag_frequency(captions)})
    if dataset_folders:
        folders = {key: {"n_repeats": n, "img_count": count} for key, (n, count) in dataset_folders.items()}
        metadata["ss_dataset_dirs"] = _json(folders)
    ours = {"recipe": _json(recipe.to_json()), "dataset_fingerprint": dataset_fingerprint, "trigger": trigger}
    metadata |= {f"glitch_lora.{key}": value for key, value in ours.items() if value}
    return dict(sorted(metadata.items()))


def tag_frequency(captions: Sequence[str]) -> dict[str, int]:
    """Return how often each comma-separated part occurs, most frequent first, then alphabetically."""
    counts = Counter(tag.strip() for caption in captions for tag in caption.split(",") if tag.strip())
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


_NOISE_AND_LOSS = ("noise_offset", "multires_noise_iterations", "min_snr_gamma")


def _kohya_metadata(
    name: str, step: int, recipe: Recipe, words: FamilyWords | None, base_model: str, prediction_type: str
) -> dict[str, str]:
    metadata = {
        "ss_output_name": name,
        "ss_steps": str(step),
        "ss_network_dim": str(recipe.rank),
        "ss_network_alpha": str(float(recipe.alpha)),
        "ss_learning_rate": str(recipe.learning_rate),
        "ss_lr_scheduler": recipe.lr_schedule,
        "ss_lr_warmup_steps": str(recipe.warmup_steps),
        "ss_gradient_accumulation_steps": str(recipe.grad_accumulation_steps),
        "ss_total_batch_size": str(recipe.batch_size),
        "ss_gradient_checkpointing": str(recipe.gradient_checkpointing),
        "ss_max_grad_norm": str(recipe.max_grad_norm),
        "ss_caption_dropout_rate": str(recipe.caption_dropout),
        "ss_optimizer": f"torch.optim.adamw.AdamW(weight_decay={recipe.weight_decay})",
        "ss_seed": str(recipe.seed),
        "ss_training_comment": "trained with Glitch LoRA",
    }
    metadata |= {f"ss_{field}": str(value) for field in _NOISE_AND_LOSS if (value := getattr(recipe, field))}
    if recipe.multires_noise_iterations:
        metadata["ss_multires_noise_discount"] = str(recipe.multires_noise_discount)
    if recipe.lora_dropout:
        metadata["ss_network_dropout"] = str(recipe.lora_dropout)
    if base_model:
        metadata["ss_sd_model_name"] = base_model
    if words is not None:
        metadata["ss_base_model_version"] = words.base_model_version
        metadata["ss_v2"] = "False"
        if words.style == "kohya":
            metadata |= _kohya_network(recipe)
    if prediction_type in ("epsilon", "v"):
        metadata["ss_v_parameterization"] = str(prediction_type == "v")
    return metadata


def _kohya_network(recipe: Recipe) -> dict[str, str]:
    """Return the module that kohya's own programs would load the file with, and its arguments."""
    network = {"ss_network_module": "networks.lora"}
    if recipe.target_modules == "all-linear+conv":
        arguments = {"conv_dim": str(recipe.rank), "conv_alpha": str(float(recipe.alpha))}
        network["ss_network_args"] = _json(arguments)
    return network


def _modelspec_metadata(
    name: str,
    words: FamilyWords | None,
    trigger: str,
    resolution: tuple[int, int] | None,
    prediction_type: str,
) -> dict[str, str]:
    metadata = {"modelspec.sai_model_spec": "1.0.1", "modelspec.title": name}
    if words is not None:
        metadata["modelspec.architecture"] = words.architecture
        metadata["modelspec.implementation"] = words.implementation
    if trigger:
        metadata["modelspec.trigger_phrase"] = trigger
        metadata["modelspec.usage_hint"] = f"Put {trigger} into the prompt."
    if resolution:
        metadata["modelspec.resolution"] = f"{resolution[0]}x{resolution[1]}"
    if prediction_type in ("epsilon", "v"):
        metadata["modelspec.prediction_type"] = prediction_type
    return metadata


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=False, ensure_ascii=False)


def save_safetensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> Path:
    """Write a safetensors file, whole or not at all; returns `path`.

    Equal tensors and metadata give equal bytes (the safetensors library shuffles the metadata). Tensors may be
    anywhere, non-contiguous or sharing memory; they are not changed. Raises OSError naming the file, the bytes needed
    and the bytes free; a file already at `path` is then untouched.
    """
    header, ordered = _layout(tensors, metadata)
    size = len(header) + sum(_bytes_in(tensor) for tensor in ordered)

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            file.write(header)
            for tensor in ordered:
                file.write(_raw(tensor))

    return write_file(path, write, size)


def safetensors_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes that `save_safetensors` writes."""
    header, ordered = _layout(tensors, metadata)
    return b"".join([header, *map(_raw, ordered)])


def _layout(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> tuple[bytes, list[torch.Tensor]]:
    """Return header and tensors in the order of the file: widest numbers first, so that all stay aligned."""
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    return _header({name: tensors[name] for name in names}, metadata), [tensors[name] for name in names]


_FORMAT_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def _header(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the length and the JSON header of a file that holds `tensors` in their order, padded to 8 bytes."""
    entries: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    start = 0
    for name, tensor in tensors.items():
        if name == "__metadata__":
            raise ValueError(f"{name}: got a tensor of this name, allowed any other, rename it")
        if tensor.dtype not in _FORMAT_DTYPES:
            raise ValueError(f"{name}: got {tensor.dtype}, allowed {list(map(str, _FORMAT_DTYPES))}, convert it first")
        end = start + _bytes_in(tensor)
        entries[name] = {
            "dtype": _FORMAT_DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _bytes_in(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _raw(tensor: torch.Tensor) -> memoryview:
    """Return the tensor's bytes in row-major order (the format is little-endian, as is every machine torch runs on)."""
    plain = tensor.detach().to("cpu").contiguous().reshape(-1)
    return memoryview(plain.view(torch.uint8).numpy())


def load_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return (tensors on the CPU, metadata). Raises ValueError naming a file that is truncated or not safetensors."""
    from safetensors import SafetensorError, safe_open

    check_safetensors(path)
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name).clone() for name in names}, dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(_damaged(path, str(error))) from error


def check_safetensors(path: Path) -> dict[str, Any]:
    """Return the header of a safetensors file after checking that the file is as long as it says.

    Reads only the header. Raises ValueError naming a file that is missing, truncated or something else.
    """
    try:
        with open(path, "rb") as file:
            header, start = _read_header(file.read(8), file)
        size = path.stat().st_size
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, struct.error) as error:
        raise ValueError(_damaged(path, str(error))) from error
    try:
        entries = [entry for name, entry in header.items() if name != "__metadata__"]
        expected = start + max((int(entry["data_offsets"][1]) for entry in entries), default=0)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(_damaged(path, "its header is not one")) from error
    if size != expected:
        raise ValueError(_damaged(path, f"it is {size:,} bytes long, its header says {expected:,}"))
    return header


_LONGEST_HEADER = 100_000_000  # the limit of the safetensors library


def _read_header(prefix: bytes, file: Any) -> tuple[dict[str, Any], int]:
    (length,) = struct.unpack("<Q", prefix)
    if length > _LONGEST_HEADER:
        raise json.JSONDecodeError("header too long", "", 0)
    return json.loads(file.read(length).decode()), 8 + length


def _damaged(path: Path, why: str) -> str:
    allowed = "allowed whole safetensors files, delete it or copy it again"
    return f"{path.name}: got a file that cannot be read ({why}), {allowed}"
