"""Our private socket types. What travels on them are small frozen dataclasses of paths and settings."""

from comfy_api.latest import io

DatasetSocket = io.Custom("GLITCH_DATASET")
RecipeSocket = io.Custom("GLITCH_RECIPE")
RunSocket = io.Custom("GLITCH_RUN")
SweepSocket = io.Custom("GLITCH_SWEEP")
