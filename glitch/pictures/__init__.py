"""Corruptions of pictures: (image, random stream, severity, settings) to a new one of the same size."""
