"""The LoRA files that ComfyUI knows."""

from pathlib import Path

import folder_paths

from .model_files import listed_file


def lora_files() -> list[str]:
    """Return the names of all LoRA files that safetensors can read, as Load LoRA lists them."""
    return [name for name in folder_paths.get_filename_list("loras") if name.endswith((".safetensors", ".sft"))]


def lora_path(name: str) -> Path:
    """Return where the LoRA file of that name is. Raises ValueError for a name that is none of `lora_files`."""
    return listed_file("loras", name, lora_files(), "lora_name", "train or copy a LoRA")
