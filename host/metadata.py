"""The text ComfyUI writes into pictures, so that a picture dropped on the canvas opens its graph."""

import json
from collections.abc import Mapping
from typing import Any

import comfy.cli_args


def metadata_wanted() -> bool:
    """Return False when ComfyUI was started with ``--disable-metadata``."""
    return not comfy.cli_args.args.disable_metadata


def png_chunks(prompt: Any, extra: Mapping[str, Any] | None) -> dict[str, str]:
    """Return PNG text by chunk name, as Save Image writes it; nothing with ``--disable-metadata``.

    prompt, extra: ComfyUI's hidden inputs `prompt` and `extra_pnginfo` (the workflow), either may be None.
    """
    if not metadata_wanted():
        return {}
    values = ({"prompt": prompt} if prompt is not None else {}) | dict(extra or {})
    return {name: json.dumps(value) for name, value in values.items()}
