"""Nodes that read a run folder, in the menu folder Glitch LoRA/training."""

from comfy_api.latest import io

NODES: list[type[io.ComfyNode]] = []
