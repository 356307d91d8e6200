"""Corruptions of latents: (tensor [C, h, w] as the VAE gave it, random stream, severity, settings) to another."""
