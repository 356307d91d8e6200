"""Sweeps over checkpoints and sampling settings, and the grids that show them."""
