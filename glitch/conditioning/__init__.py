"""Corruptions of what a text encoder says, before the model hears it."""
