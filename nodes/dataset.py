"""Nodes of the menu folder Glitch LoRA/dataset."""

from comfy_api.latest import io

NODES: list[type[io.ComfyNode]] = []
