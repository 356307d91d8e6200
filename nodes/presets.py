"""Nodes that break a training in a whole way, on one dial."""

from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ..dataset.report import describe_dataset
from ..glitch.presets import (
    dataset_steps,
    describe_preset,
    presets_for,
    recipe_values,
    sample_values,
    text_values,
)
from .inputs import combo, seed_input
from .sockets import DatasetSocket, RecipeSocket

_ALIASES = ["glitch preset", "nine breaks", "jpeg rot", "vhs", "false captions", "mode collapse", "overshoot"]


def _intensity(zero: str) -> io.Float.Input:
    return io.Float.Input(
        "intensity", default=1.0, min=0.0, max=1.0, step=0.05, tooltip=f"0 {zero}, 1 is the whole preset."
    )


class GlitchDatasetPreset(io.ComfyNode):
    """Damages a dataset the way a preset does."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchDatasetPreset",
            display_name="Dataset Preset",
            category="Glitch LoRA/dataset",
            description="A whole way to break a training, on one dial: damages pictures and captions, and says what "
            "the preset asks of recipe, sampling and weights. Place it after Frame Dataset.",
            search_aliases=[*_ALIASES, "datamosh", "byte bent"],
            inputs=[
                DatasetSocket.Input("dataset", tooltip="The dataset to damage."),
                combo("preset", presets_for("dataset"), "Which way; the help page lists them."),
                _intensity("leaves the dataset untouched"),
                seed_input("Of everything the damage draws."),
            ],
            outputs=[
                DatasetSocket.Output("dataset", display_name="dataset", tooltip="The damaged dataset."),
                io.String.Output(
                    "report", display_name="report", tooltip="What was done, what remains to do, and the whole chain."
                ),
            ],
        )

    @classmethod
    def execute(cls, dataset: Any, preset: str, intensity: float, seed: int) -> io.NodeOutput:
        for step in dataset_steps(preset, intensity, seed):
            dataset = dataset.with_step(step)
        report = f"{describe_preset(preset, intensity, 'dataset')}\n\n{describe_dataset(dataset)}"
        return io.NodeOutput(dataset, report)


class GlitchRecipePreset(io.ComfyNode):
    """Changes a recipe the way a preset does."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchRecipePreset",
            display_name="Recipe Preset",
            category="Glitch LoRA/training",
            description="A whole way to break a training, on one dial: sets the recipe values that a preset names, "
            "those of its samples too, and says what it asks of dataset, sampling and weights.",
            search_aliases=[*_ALIASES, "learning rate", "edge of nan", "sampler stumble", "semantic drift"],
            inputs=[
                RecipeSocket.Input("recipe", tooltip="The recipe to change; what the preset does not name stays."),
                combo("preset", presets_for("recipe"), "Which way; the help page lists them."),
                _intensity("gives the values it names those of a careful training"),
            ],
            outputs=[
                RecipeSocket.Output("recipe", display_name="recipe", tooltip="The changed recipe, for Train LoRA."),
                io.String.Output("report", display_name="report", tooltip="What was set, and what remains to do."),
            ],
        )

    @classmethod
    def execute(cls, recipe: Any, preset: str, intensity: float) -> io.NodeOutput:
        samples = replace(recipe.samples, **sample_values(preset, intensity))
        changed = recipe.changed(**recipe_values(preset, intensity), samples=samples)
        changed = changed.with_text(text_values(preset, intensity))
        report = "\n".join([describe_preset(preset, intensity, "recipe"), *changed.warnings()])
        return io.NodeOutput(changed, report)


NODES: list[type[io.ComfyNode]] = [GlitchDatasetPreset, GlitchRecipePreset]
