"""The LoRA files that ComfyUI knows."""

from pathlib import Path

import folder_paths


def lora_files() -> list[str]:
    """Return the names of all LoRA files that safetensors can read, as Load LoRA lists them."""
    return [name for name in folder_paths.get_filename_list("loras") if name.endswith((".safetensors", ".sft"))]


def lora_path(name: str) -> Path:
    """Return where the LoRA file of that name is. Raises ValueError for a name that is none of `lora_files`."""
    path = folder_paths.get_full_path("loras", name) if name in lora_files() else None
    if path is None:
        some = ", ".join(lora_files()[:5])
        allowed = f"names such as {some}" if some else "files in ComfyUI's loras folders, which hold none yet"
        do = "refresh (R) and choose one" if some else "train or copy a LoRA there, refresh (R) and choose it"
        raise ValueError(f"lora_name: got {name!r}, allowed are {allowed}, {do}")
    return Path(path)
