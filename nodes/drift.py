"""The node that tells how far a run moved the text encoders, in the menu folder Glitch LoRA/training."""

from typing import Any

from comfy_api.latest import io, ui

from ..host.images import to_tensor
from ..host.progress import Progress, check_interrupt
from ..sampling.axes import parse_checkpoints
from ..sampling.drift_plot import plot_text_drift
from ..sampling.drift_report import FORMATS, drift_report, probe_table, word_table
from ..sampling.probes import probes_from
from ..sampling.text_drift import measure_text_drift
from ..training.run import Run
from .sockets import RunSocket

CATEGORY = "Glitch LoRA/training"
_NEAR = 3  # vocabulary words told of each learnt vector


class GlitchTextDrift(io.ComfyNode):
    """Compares the text encoders before a run and at its checkpoints."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return io.Schema(
            node_id="GlitchTextDrift",
            display_name="Text Drift",
            category=CATEGORY,
            description="Tells how far a run moved the text encoders: how much plain words and prompts mean something "
            "else at each checkpoint, which words have other neighbours now, and what the learnt words are near to. "
            "Nothing is rendered, only text is encoded, and the CLIP goes out as it came in.",
            search_aliases=["semantic drift", "text encoder drift", "clip drift", "embedding distance", "neighbours"],
            is_output_node=True,
            inputs=[
                RunSocket.Input("run", tooltip="A run that trained a text encoder or words (Open Run or Train LoRA)."),
                io.Clip.Input("clip", tooltip="The text encoder the run was trained on, without the run's LoRA."),
                io.String.Input(
                    "checkpoints",
                    default="all",
                    tooltip="all, every 2 (each second, counted from the last), or steps such as 100, 200, last.",
                ),
                io.String.Input(
                    "probes",
                    default="",
                    multiline=True,
                    tooltip="Words and prompts to ask with, one a line; a line such as '# animals' names the class of "
                    "those below. Empty: 82 everyday words and prompts. The run's trigger and words always come along.",
                ),
                io.Int.Input(
                    "neighbours",
                    default=5,
                    min=1,
                    max=50,
                    tooltip="How many of the nearest other probes count as a probe's neighbours.",
                ),
                io.Combo.Input(
                    "table_format",
                    options=list(FORMATS),
                    default=FORMATS[0],
                    advanced=True,
                    tooltip="Of both tables. CSV: every checkpoint, full precision. Markdown: to read and paste, the "
                    "probes at the last checkpoint.",
                ),
                io.Int.Input(
                    "width", default=1200, min=512, max=8192, step=8, advanced=True, tooltip="Of the plot, in pixels."
                ),
                io.Int.Input(
                    "height", default=900, min=384, max=8192, step=8, advanced=True, tooltip="Of the plot, in pixels."
                ),
            ],
            outputs=[
                io.Image.Output("plot", display_name="plot", tooltip="Drift over the steps, and what moved most."),
                io.String.Output("report", display_name="report", tooltip="What moved, in plain words."),
                io.String.Output("table", display_name="table", tooltip="Every probe: drift and neighbours."),
                io.String.Output(
                    "word_table",
                    display_name="word table",
                    tooltip="Every vector of the learnt words from its start on; empty for a run without words.",
                ),
                io.Float.Output(
                    "mean_drift",
                    display_name="mean drift",
                    is_output_list=True,
                    tooltip="A number for each chosen step: the mean drift of the probes, without the run's own words.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        run: Run,
        clip: Any,
        checkpoints: str,
        probes: str,
        neighbours: int,
        table_format: str = FORMATS[0],
        width: int = 1200,
        height: int = 900,
    ) -> io.NodeOutput:
        """Return plot, report, tables and mean drifts, and show the plot on the node."""
        from ..host.probe_outputs import ProbeEncoder
        from ..sampling.word_drift import measure_word_drift

        steps = parse_checkpoints(checkpoints, [each.step for each in run.checkpoints()])
        asked = probes_from(probes, (run.trigger, *run.tokens))
        progress = Progress(len(asked) * (len(steps) + 1), cls.hidden.unique_id)
        with ProbeEncoder(clip, run.tokens, run.clip_skip, run.has_clip_skip) as encoder:
            found = measure_text_drift(run, steps, asked, encoder, neighbours, progress.update)
            words = measure_word_drift(run, steps, encoder, _NEAR, check_interrupt)
        image = to_tensor(plot_text_drift(found, words, width, height))
        tables = probe_table(found, table_format), word_table(words, table_format)
        shown = ui.PreviewImage(image, cls=cls)
        return io.NodeOutput(image, drift_report(found, words), *tables, found.means(), ui=shown)


NODES: list[type[io.ComfyNode]] = [GlitchTextDrift]
