"""Glitch LoRA: break a dataset on purpose, train a LoRA on it and sweep its checkpoints, inside ComfyUI.

Importing this package only checks the host's version. ComfyUI then awaits ``comfy_entrypoint``, which
imports the nodes; torch-heavy libraries (peft, diffusers, bitsandbytes) wait until a node needs them.
"""

from .host.version import supported_comfyui

WEB_DIRECTORY = "./web"

if supported_comfyui():

    async def comfy_entrypoint():
        """Return the extension that lists our nodes (ComfyUI's V3 entry point)."""
        from .nodes import GlitchExtension

        return GlitchExtension()

    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
else:
    NODE_CLASS_MAPPINGS: dict[str, type] = {}
    __all__ = ["NODE_CLASS_MAPPINGS", "WEB_DIRECTORY"]
