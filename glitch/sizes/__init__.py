"""Corruptions of what SDXL is told of a picture's size."""
