"""Nodes of the menu folder Glitch LoRA/training."""

from comfy_api.latest import io

NODES: list[type[io.ComfyNode]] = []
