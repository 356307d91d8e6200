"""Nodes that read a run folder, in the menu folder Glitch LoRA/training."""

from pathlib import Path
from typing import Any

from comfy_api.latest import io, ui

from ..host.folders import RUNS_FOLDER, output_folder
from ..host.images import to_tensor
from ..sampling.axes import parse_checkpoints
from ..sampling.lettering import face_for, font
from ..training.run import LAST, Run, list_runs
from ..training.run_report import describe_run, step_label
from .sockets import RunSocket

CATEGORY = "Glitch LoRA/training"
NO_RUNS = "(no runs yet: train one)"
BASE = 0


def _runs_folder() -> Path:
    return output_folder() / RUNS_FOLDER


class GlitchOpenRun(io.ComfyNode):
    """Opens a training run from the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchOpenRun",
            display_name="Open Run",
            category=CATEGORY,
            description="Opens a training run from output/glitch_lora, also one that is still going. Its steps and "
            "labels are lists: connect them to Apply Checkpoint and the rest of your graph runs once per checkpoint.",
            search_aliases=["load run", "checkpoints", "training run", "list checkpoints", "lora checkpoints"],
            inputs=[
                io.Combo.Input(
                    "run_name",
                    options=[run.name for run in list_runs(_runs_folder())] or [NO_RUNS],
                    tooltip="A folder under output/glitch_lora, the last changed first. Press R to see new ones.",
                ),
                io.String.Input(
                    "checkpoints",
                    default="all",
                    tooltip="all, every 2 (each second, counted from the last), or steps such as 100, 200, last.",
                ),
                io.Boolean.Input(
                    "include_base",
                    default=True,
                    tooltip="Put step 0, the model without the LoRA, first in the lists, for comparison.",
                ),
            ],
            outputs=[
                RunSocket.Output("run", display_name="run", tooltip="For Apply Checkpoint, Sweep, Plot and Save LoRA."),
                io.Int.Output(
                    "steps", display_name="steps", is_output_list=True, tooltip="The chosen steps, 0 for the base."
                ),
                io.String.Output(
                    "labels", display_name="labels", is_output_list=True, tooltip="A label per step, for Sweep Grid."
                ),
                io.String.Output("report", display_name="report", tooltip="What the run holds, and any problems."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, run_name: str | None = None, **_: Any) -> Any:
        return Run(_runs_folder() / Path(run_name).name).listing() if run_name else ""

    @classmethod
    def execute(cls, run_name: str, checkpoints: str, include_base: bool) -> io.NodeOutput:
        """Return the run, its chosen steps and labels, and a report."""
        run = _open(run_name)
        available = [checkpoint.step for checkpoint in run.checkpoints()]
        # A run that has just begun can already be plotted; its lists then hold the base alone.
        chosen = parse_checkpoints(checkpoints, available) if available else ()
        steps = [BASE, *chosen] if include_base or not chosen else list(chosen)
        return io.NodeOutput(run, steps, [step_label(step) for step in steps], describe_run(run, chosen))


def _open(name: str) -> Run:
    """Return the run of that name. Raises ValueError for a name that is none of the listed runs."""
    runs = {run.name: run for run in list_runs(_runs_folder())}
    if name not in runs:
        raise ValueError(f"run_name: got {name!r}, allowed {list(runs) or 'none yet'}, train first or choose another")
    return runs[name]


class GlitchApplyCheckpoint(io.ComfyNode):
    """Puts one checkpoint of a run on MODEL and CLIP."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchApplyCheckpoint",
            display_name="Apply Checkpoint",
            category=CATEGORY,
            description="Puts a checkpoint of a run on MODEL and CLIP, exactly as Load LoRA does, for a graph of your "
            "own: other samplers, ControlNet, upscalers. Words that the run learnt come along, of the same step: "
            "prompts on this CLIP just write them. Load LoRA Model takes no CLIP; use this node where a LoRA changes "
            "the text encoder or the run has words or a clip skip.",
            search_aliases=["load lora", "lora checkpoint", "apply lora", "use run", "embedding", "textual inversion"],
            inputs=[
                RunSocket.Input("run", tooltip="The training run (Open Run or Train LoRA)."),
                io.Model.Input("model", tooltip="The model the run was trained on, or another of its family."),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="The text encoder. The native Load LoRA Model takes no CLIP: what a LoRA does to the text "
                    "encoder, learnt words and the run's clip skip only arrive through this input.",
                ),
                io.Int.Input(
                    "step",
                    default=LAST,
                    min=LAST,
                    max=10_000_000,
                    tooltip="The checkpoint's step; -1 is the last, 0 the model without the LoRA.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-100.0,
                    max=100.0,
                    step=0.05,
                    round=0.001,
                    tooltip="How much of the LoRA, on MODEL and CLIP. 1 as trained, above 1 exaggerates, "
                    "below 0 turns it around. Words have no strength but a prompt's (word:1.2).",
                ),
                io.Boolean.Input(
                    "use_run_clip_skip",
                    default=True,
                    advanced=True,
                    tooltip="Set the CLIP to the layer the run was trained with (also for step 0).",
                ),
            ],
            outputs=[
                io.Model.Output("model", display_name="MODEL", tooltip="The model with the checkpoint on it."),
                io.Clip.Output("clip", display_name="CLIP", tooltip="The text encoder; nothing when none came in."),
                io.String.Output("label", display_name="label", tooltip="Such as: step 300 x 0.5."),
            ],
        )

    @classmethod
    def execute(
        cls, run: Run, model: Any, step: int, strength: float, use_run_clip_skip: bool = True, clip: Any = None
    ) -> io.NodeOutput:
        """Return clones of MODEL and CLIP with the checkpoint on them, and a label."""
        from ..host.checkpoint import apply_checkpoint, before_training
        from ..host.rendering import with_clip_layer
        from ..training.lora_file import load_safetensors

        if use_run_clip_skip and run.has_clip_skip:
            clip = with_clip_layer(clip, run.clip_skip)
        if step == BASE:
            return io.NodeOutput(model, before_training(clip, run.tokens), step_label(BASE))
        checkpoint = run.checkpoint(step)
        model, clip = apply_checkpoint(model, clip, load_safetensors(checkpoint.path)[0], strength)
        return io.NodeOutput(model, clip, step_label(checkpoint.step, strength))


class GlitchPlotTraining(io.ComfyNode):
    """Draws the curves of one or more runs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        others = io.Autogrow.TemplatePrefix(
            RunSocket.Input("run", optional=True, tooltip="Another run on the same axes."), prefix="run", min=0, max=6
        )
        return io.Schema(
            node_id="GlitchPlotTraining",
            display_name="Plot Training",
            category=CATEGORY,
            description="Draws loss, learning rate and gradient norm of a run, also while it is going, and of other "
            "runs beside it. Looking never starts a training when the run comes from Open Run.",
            search_aliases=["loss graph", "loss curve", "learning rate", "compare runs", "chart", "tensorboard"],
            is_output_node=True,
            inputs=[
                RunSocket.Input("run", tooltip="The run to draw."),
                io.Autogrow.Input("compare", template=others, optional=True, tooltip="Other runs on the same axes."),
                io.Float.Input(
                    "smoothing",
                    default=0.9,
                    min=0.0,
                    max=0.999,
                    step=0.01,
                    round=0.001,
                    tooltip="Weight of the past in the moving average (bold). 0 draws the raw values alone.",
                ),
                io.Boolean.Input("log_steps", default=False, tooltip="Logarithmic step axis: shows the beginning."),
                io.Boolean.Input("log_values", default=False, tooltip="Logarithmic loss and gradient norm."),
                io.Float.Input(
                    "loss_max",
                    default=0.0,
                    min=0.0,
                    max=1e9,
                    step=0.05,
                    round=1e-6,
                    advanced=True,
                    tooltip="Upper end of the loss axis, so that two pictures compare. 0 finds it.",
                ),
                io.Int.Input(
                    "width", default=1200, min=256, max=8192, step=8, advanced=True, tooltip="Width in pixels."
                ),
                io.Int.Input(
                    "height", default=900, min=256, max=8192, step=8, advanced=True, tooltip="Height in pixels."
                ),
            ],
            outputs=[io.Image.Output("plot", display_name="plot", tooltip="The picture.")],
        )

    @classmethod
    def execute(
        cls,
        run: Run,
        smoothing: float,
        log_steps: bool,
        log_values: bool,
        loss_max: float = 0.0,
        width: int = 1200,
        height: int = 900,
        compare: dict[str, Run | None] | None = None,
    ) -> io.NodeOutput:
        """Return the plot and show it on the node."""
        from ..training.plot import PlotSettings, plot_metrics

        runs = [run, *(other for other in (compare or {}).values() if other is not None)]
        settings = PlotSettings(width, height, smoothing, log_steps, log_values, loss_max)
        picture = plot_metrics([(each.name, each.metrics()) for each in runs], settings, _typeface)
        image = to_tensor(picture)
        return io.NodeOutput(image, ui=ui.PreviewImage(image, cls=cls))


def _typeface(text: str, size: int) -> Any:
    return font(face_for(text), size)


NODES: list[type[io.ComfyNode]] = [GlitchOpenRun, GlitchApplyCheckpoint, GlitchPlotTraining]
