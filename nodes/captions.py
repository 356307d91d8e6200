"""Nodes that damage captions."""

from typing import Any

from comfy_api.latest import io

from ..dataset.report import describe_dataset
from ..glitch.captions.report import describe_change
from ..glitch.registry import all_operations
from ..glitch.step import Damage, corruption
from .corruption import chosen_operation
from .inputs import combo, operation_input, seed_input, severity_input
from .sockets import DatasetSocket


class GlitchCorruptCaptions(io.ComfyNode):
    """Damages the captions of a dataset."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchCorruptCaptions",
            display_name="Corrupt Captions",
            category="Glitch LoRA/dataset",
            description="Damages the captions before training: false captions, dropping, noise, cut-ups, opposites, "
            "and tags that name the damage a picture really went through. Trigger words stay.",
            search_aliases=[
                *("caption dropout", "shuffle tags", "false captions", "typos", "derangement", "cut-up", "glx"),
                *("glitch tags", "trigger word", "text noise", "markov", "colour words"),
            ],
            inputs=[
                DatasetSocket.Input("dataset", tooltip="The dataset whose captions to damage."),
                operation_input(all_operations("captions")),
                severity_input("0 leaves every caption as it is, 1 does what the settings say."),
                io.Float.Input(
                    "fraction", default=1.0, min=0.0, max=1.0, step=0.05, tooltip="How likely a caption is damaged."
                ),
                combo(
                    "damage",
                    Damage,
                    "frozen: a caption is always damaged the same way. new for each variant: training sees several.",
                    advanced=True,
                ),
                seed_input("Of everything the damage draws."),
            ],
            outputs=[
                DatasetSocket.Output("dataset", display_name="dataset", tooltip="The dataset with damaged captions."),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="How many captions changed, some before and after, and the whole chain.",
                ),
            ],
            hidden=[io.Hidden.prompt],
        )

    @classmethod
    def execute(
        cls,
        dataset: Any,
        severity: float,
        fraction: float,
        damage: str,
        seed: int,
        operation: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        name, values = chosen_operation(operation, all_operations("captions"), cls.hidden.prompt)
        step = corruption(name, values, severity=severity, fraction=fraction, damage=damage, seed=seed)
        corrupted = dataset.with_step(step)
        return io.NodeOutput(corrupted, f"{describe_change(dataset, corrupted)}\n\n{describe_dataset(corrupted)}")


NODES: list[type[io.ComfyNode]] = [GlitchCorruptCaptions]
