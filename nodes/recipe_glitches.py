"""Links in the chain of a recipe: what a training does on purpose that a careful one would not."""

from typing import Any

from comfy_api.latest import io

from ..training.recipe import Recipe
from .sockets import RecipeSocket

DEFAULT = Recipe()


class GlitchRecipeGlitches(io.ComfyNode):
    """Bends the noise, the loss and the learning rate of a training."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchRecipeGlitches",
            display_name="Recipe Glitches",
            category="Glitch LoRA/training",
            description="Bends a recipe: noise that shifts tones, noise that each picture meets again and again, a "
            "loss that favours some noise levels, learning rates that jump. What is left as it stands keeps what the "
            "recipe has, so that several of these nodes add up.",
            search_aliases=["noise offset", "pyramid noise", "min snr", "restarts", "lr spike", "timestep range"],
            inputs=[RecipeSocket.Input("recipe", tooltip="The recipe to bend."), *_noise(), *_levels(), *_rates()],
            outputs=[RecipeSocket.Output(display_name="recipe", tooltip="The bent recipe, for Train LoRA.")],
        )

    @classmethod
    def execute(cls, recipe: Any, lr_cycles: int, **settings: Any) -> io.NodeOutput:
        """Return the recipe with those settings that are not the defaults; the others stay as an earlier node left."""
        changed = {name: value for name, value in settings.items() if value != getattr(DEFAULT, name)}
        if lr_cycles:
            changed |= {"lr_schedule": "cosine_with_restarts", "lr_cycles": lr_cycles}
        return io.NodeOutput(recipe.changed(**changed))


def _noise() -> list[io.Input]:
    return [
        io.Float.Input(
            "noise_offset",
            default=0.0,
            min=0.0,
            max=2.0,
            step=0.05,
            tooltip="Shifts the noise of each channel as a whole, so that tones move. 0.05 to 0.1 is used to get "
            "darker darks; 0.3 and more washes out.",
        ),
        io.Int.Input(
            "multires_noise_iterations",
            default=0,
            min=0,
            max=10,
            tooltip="Layers of coarser noise on top (pyramid noise): large areas change their tone. 6 is usual.",
        ),
        io.Float.Input(
            "multires_noise_discount",
            default=DEFAULT.multires_noise_discount,
            min=0.0,
            max=1.0,
            step=0.05,
            advanced=True,
            tooltip="Weight of the coarser layers, to the power of their number.",
        ),
        io.Int.Input(
            "frozen_noises",
            default=0,
            min=0,
            max=1000,
            tooltip="Each picture is only ever trained with this many noise tensors; 0 draws a new one each time. "
            "Few make some seeds recall pictures.",
        ),
    ]


def _levels() -> list[io.Input]:
    return [
        io.Float.Input(
            "min_snr_gamma",
            default=0.0,
            min=0.0,
            max=1000.0,
            step=0.5,
            tooltip="Weights the clean picture's error by min(SNR, gamma): less for what is nearly clean already. 5 is "
            "usual, 20 is nearly unweighted on epsilon models, 0 is off.",
        ),
        io.Float.Input(
            "min_timestep",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="Train noise levels from here: 0 is the clean end. 0.5 learns composition, not texture.",
        ),
        io.Float.Input(
            "max_timestep",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="Train noise levels up to here: 1 is pure noise. 0.5 learns texture, not composition.",
        ),
    ]


def _rates() -> list[io.Input]:
    return [
        io.Int.Input(
            "lr_cycles",
            default=0,
            min=0,
            max=1000,
            tooltip="Cosine with hard restarts, this often; 0 keeps the recipe's schedule.",
        ),
        io.Int.Input(
            "lr_spike_every",
            default=0,
            min=0,
            max=10_000_000,
            tooltip="Every so many steps the learning rate jumps for one step; 0 never.",
        ),
        io.Float.Input(
            "lr_spike_factor",
            default=DEFAULT.lr_spike_factor,
            min=0.0,
            max=1000.0,
            step=0.5,
            tooltip="How many times the rate is as high in such a step.",
        ),
    ]


NODES: list[type[io.ComfyNode]] = [GlitchRecipeGlitches]
