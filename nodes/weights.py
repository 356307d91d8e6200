"""Nodes of the menu folder Glitch LoRA/weights."""

from comfy_api.latest import io

NODES: list[type[io.ComfyNode]] = []
