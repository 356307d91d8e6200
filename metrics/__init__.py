"""Measures of pictures that need no network, usable alone as a Python library: no torch, no ComfyUI."""
