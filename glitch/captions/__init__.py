"""Corruptions of captions: (text, random stream, severity, settings) to another text. One file a family."""
