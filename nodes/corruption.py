"""Nodes that damage pictures: of a dataset, and of any graph."""

from collections.abc import Iterator, Sequence
from typing import Any

from comfy_api.latest import io
from PIL import Image

from ..dataset.derived import with_copies
from ..dataset.near_names import near_names
from ..dataset.report import describe_dataset
from ..glitch.batch import KeyedBy, corrupted_pictures
from ..glitch.registry import Operation, Subject, all_operations, find_operation
from ..glitch.step import Damage, corruption
from ..host.choices import require_choice
from ..host.damage import changed_batch
from ..host.progress import Progress, check_interrupt
from .inputs import combo, operation_input, seed_input, severity_input
from .sockets import DatasetSocket


def _dataset_operations() -> list[Operation]:
    subjects: tuple[Subject, ...] = ("pictures", "latents", "conditioning", "sizes")
    return [operation for subject in subjects for operation in all_operations(subject)]


class GlitchCorruptDataset(io.ComfyNode):
    """Damages the pictures of a dataset."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchCorruptDataset",
            display_name="Corrupt Dataset",
            category="Glitch LoRA/dataset",
            description="Damages the pictures before training, or their latents and the captions' conditioning when "
            "they are encoded, each in its own way. Chain several for more; place it after the framing to keep the "
            "damage sharp.",
            search_aliases=["glitch", "jpeg artefacts", "compression", "databending", "generation loss", "degrade"],
            inputs=[
                DatasetSocket.Input("dataset", tooltip="The dataset to damage."),
                operation_input(_dataset_operations()),
                severity_input(),
                io.Float.Input(
                    "fraction", default=1.0, min=0.0, max=1.0, step=0.05, tooltip="How likely a picture is damaged."
                ),
                combo(
                    "damage",
                    Damage,
                    "frozen: a picture is always damaged the same way. new for each variant: training sees several.",
                    advanced=True,
                ),
                seed_input("Of everything the damage draws."),
                io.Float.Input(
                    "severity_jitter",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Each picture's severity is drawn from this much around it.",
                    optional=True,
                    advanced=True,
                ),
                io.Int.Input(
                    "copies",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="How many copies of each picture the dataset then has, each damaged in its own way.",
                    optional=True,
                    advanced=True,
                ),
                io.Boolean.Input(
                    "keep_clean",
                    default=False,
                    tooltip="Keep the untouched picture too, beside its damaged copies.",
                    optional=True,
                    advanced=True,
                ),
            ],
            outputs=[
                DatasetSocket.Output("dataset", display_name="dataset", tooltip="The damaged dataset."),
                io.String.Output("report", display_name="report", tooltip="The chain and its warnings."),
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
        severity_jitter: float = 0.0,
        copies: int = 1,
        keep_clean: bool = False,
        operation: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        name, values = chosen_operation(operation, _dataset_operations(), cls.hidden.prompt)
        step = corruption(
            name,
            values,
            severity=severity,
            severity_jitter=severity_jitter,
            fraction=fraction,
            damage=damage,
            seed=seed,
        )
        corrupted = with_copies(dataset, step, copies, keep_clean)
        return io.NodeOutput(corrupted, describe_dataset(corrupted))


class GlitchCorruptImage(io.ComfyNode):
    """Damages images of any graph."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchCorruptImage",
            display_name="Corrupt Image",
            category="Glitch LoRA/glitch",
            description="Damages images: real codecs broken on purpose, raw bytes, video signals, sorted pixels and "
            "more. Works in any graph, without training. Each picture of a batch gets its own damage.",
            search_aliases=["glitch", "databending", "pixel sort", "datamosh", "vhs", "jpeg", "scanlines", "dither"],
            inputs=[
                io.Image.Input("images", tooltip="The images to damage."),
                operation_input(all_operations("pictures")),
                severity_input(),
                seed_input("Of everything the damage draws."),
                combo(
                    "keyed_by",
                    KeyedBy,
                    "content: equal pictures get equal damage, wherever they stand in the batch. "
                    "number: each place in the batch has damage of its own.",
                    advanced=True,
                ),
                io.Mask.Input("mask", optional=True, tooltip="Where the damage shows: white all of it, black none."),
            ],
            outputs=[
                io.Image.Output("images", display_name="images", tooltip="The damaged images, of the same sizes."),
                io.String.Output("report", display_name="report", tooltip="The operation, its settings and its tag."),
            ],
            hidden=[io.Hidden.prompt],
        )

    @classmethod
    def execute(
        cls,
        images: Any,
        severity: float,
        seed: int,
        keyed_by: Any,
        mask: Any = None,
        operation: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        name, values = chosen_operation(operation, all_operations("pictures"), cls.hidden.prompt)

        def change(pictures: Sequence[Image.Image]) -> Iterator[Image.Image]:
            bar = Progress(len(pictures))
            damaged = corrupted_pictures(pictures, name, values, severity, seed, keyed_by)
            for done, picture in enumerate(damaged, start=1):
                check_interrupt()
                bar.update(done)
                yield picture

        return io.NodeOutput(changed_batch(images, change, mask), _described(name, values, severity))


def chosen_operation(
    value: dict[str, Any] | None, operations: Sequence[Operation], prompt: Any
) -> tuple[str, dict[str, Any]]:
    """Return the name and the settings that an `operation_input` gave. Raises ValueError for an unknown name."""
    values = dict(require_choice(value, "operation", [each.name for each in operations], prompt, near_names))
    return values.pop("operation"), values


def _described(name: str, values: dict[str, Any], severity: float) -> str:
    operation = find_operation(name)
    settings = ", ".join(f"{key} {value}" for key, value in operation.checked(values).items())
    return f"{operation.summary}\n{name} at severity {severity:g}: {settings}\nIts tag in captions: {operation.tag}"


NODES: list[type[io.ComfyNode]] = [GlitchCorruptDataset, GlitchCorruptImage]
