"""Corruptions of a LoRA's weights: bending, transplanting and blending, without a base model."""
