"""Corruptions, usable alone as a Python library: no torch, no ComfyUI."""
