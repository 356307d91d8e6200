"""Nodes that measure pictures, in the menu folder Glitch LoRA/sampling."""

import json
from typing import Any

from comfy_api.latest import io, ui

from ..host.clip_score import clip_scores
from ..host.images import from_tensor, to_tensor
from ..host.progress import Progress, check_interrupt
from ..host.vae_loss import picture_through
from ..metrics.registry import to_array
from ..metrics.survival import survival_shares
from ..metrics.tables import DETECTORS, as_table, chosen, described, groups, measure_set
from ..sampling.cells import to_picture
from ..sampling.lettering import face_for, font
from ..sampling.scores import plot_scores, score_sweep, score_table, write_scores
from ..sampling.sweep import Sweep
from .sockets import SweepSocket

CATEGORY = "Glitch LoRA/sampling"
_METRICS = (
    "What is measured. detectors: what answers to one kind of damage, quick. all: everything. Else one topic, such as "
    "sharpness or colour."
)


class GlitchMeasureImages(io.ComfyNode):
    """Measures images, alone or against others."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return io.Schema(
            node_id="GlitchMeasureImages",
            display_name="Measure Images",
            category=CATEGORY,
            description=(
                "Measure images in figures: blocks, noise, tears, lines, misregistered channels, blur, tone, colour "
                "and more, and how far they are from other images. Needs no model and downloads nothing. No figure "
                "says how good an image is: compare with the base model's."
            ),
            search_aliases=["metrics", "ssim", "blockiness", "noise level", "blur detection", "image quality"],
            is_output_node=True,
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="The images: a batch, a list, or a list of batches."),
                io.Image.Input(
                    "compare_with",
                    optional=True,
                    tooltip="What they are compared with, of the same size: one image for all, or one for each.",
                ),
                io.Combo.Input("metrics", options=list(groups()), default=DETECTORS, tooltip=_METRICS),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Tells how much of the difference to compare_with is left when the VAE has encoded and "
                    "decoded both: what a latent can carry, a training can learn.",
                ),
                io.Clip.Input("clip", optional=True, tooltip="For CLIPScore: a CLIP text encoder, such as CLIP-L."),
                io.ClipVision.Input(
                    "clip_vision", optional=True, tooltip="For CLIPScore: the vision half of the same CLIP."
                ),
                io.String.Input(
                    "texts",
                    optional=True,
                    force_input=True,
                    tooltip="For CLIPScore: what the images should show, one text for all or one for each.",
                ),
            ],
            outputs=[
                io.String.Output("report", display_name="report", tooltip="A table: one metric a line."),
                io.String.Output("values", display_name="values", tooltip="The figures as JSON."),
            ],
        )

    @classmethod
    def execute(
        cls,
        images: list[Any],
        metrics: list[str],
        compare_with: list[Any] | None = None,
        vae: list[Any] | None = None,
        clip: list[Any] | None = None,
        clip_vision: list[Any] | None = None,
        texts: list[str] | None = None,
    ) -> io.NodeOutput:
        """Return the figures, and show the table on the node."""
        wanted, pictures, others = chosen(metrics[0]), _pictures(images), _pictures(compare_with or [])
        found, whole = measure_set(pictures, others, wanted, check_interrupt)
        rows: list[dict[str, float | None]] = [{**row} for row in found]
        if vae:
            for number, row in enumerate(rows):
                check_interrupt()
                clean = _compared_with(others, number)
                row |= survival_shares(clean, pictures[number], picture_through(vae[0]), wanted)
        for row, score in zip(rows, clip_scores(images, clip, clip_vision, texts), strict=False):
            row["clip_score"] = score
        columns = {f"image {number}": row for number, row in enumerate(rows, start=1)}
        report = as_table(columns | ({"all": whole} if whole else {}))
        values = json.dumps({"metrics": described(wanted), "images": rows, "set": whole})
        return io.NodeOutput(report, values, ui=ui.PreviewText(report))


class GlitchScoreSweep(io.ComfyNode):
    """Measures every picture of a sweep against the base."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return io.Schema(
            node_id="GlitchScoreSweep",
            display_name="Score Sweep",
            category=CATEGORY,
            description=(
                "Measure every picture of a sweep, and compare it with the base without LoRA at the same prompt, seed "
                "and settings: how strong the effect is, and what kind of damage came with it. Writes a table and a "
                "JSON file beside the sweep and draws the figures over the steps."
            ),
            search_aliases=["metrics", "evaluate lora", "compare checkpoints", "overfitting", "chart"],
            is_output_node=True,
            inputs=[
                SweepSocket.Input("sweep", tooltip="From Sweep Checkpoints."),
                io.Combo.Input("metrics", options=list(groups()), default=DETECTORS, tooltip=_METRICS),
            ],
            outputs=[
                io.String.Output("report", display_name="report", tooltip="A table: one metric a line."),
                io.Image.Output("plot", display_name="plot", tooltip="The metrics that moved most, over the steps."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, sweep: Sweep, metrics: str) -> io.NodeOutput:
        """Write the figures beside the sweep; return the report and the plot, and show the plot."""
        progress = Progress(len(sweep.cells()), cls.hidden.unique_id)
        scores = score_sweep(sweep, chosen(metrics), progress, check_interrupt)
        write_scores(sweep, scores)
        image = to_tensor(plot_scores(scores, _typeface))
        return io.NodeOutput(score_table(scores), image, ui=ui.PreviewImage(image, cls=cls))


def _compared_with(others: list[Any], number: int) -> Any:
    if not others:
        raise ValueError("compare_with: got none beside a vae, allowed one or more images, connect the clean ones")
    return others[number % len(others)]


def _pictures(batches: list[Any]) -> list[Any]:
    return [to_array(to_picture(pixels[..., :3])) for batch in batches for pixels in from_tensor(batch)]


def _typeface(text: str, size: int) -> Any:
    return font(face_for(text), size)


NODES: list[type[io.ComfyNode]] = [GlitchMeasureImages, GlitchScoreSweep]
