"""Nodes of the menu folder Glitch LoRA/weights."""

from comfy_api.latest import io

from ..host.folders import loras_folder
from ..training.publish import DTYPE_CHOICES, save_lora
from ..training.run import LAST, Run
from .sockets import RunSocket


class GlitchSaveLora(io.ComfyNode):
    """Saves a checkpoint where Load LoRA finds it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchSaveLora",
            display_name="Save LoRA (Glitch)",
            category="Glitch LoRA/weights",
            description="Saves a checkpoint of a run as an ordinary LoRA file in output/loras, metadata and trigger "
            "word included, where Load LoRA finds it. Never overwrites another file.",
            search_aliases=["export lora", "publish lora", "save lora weights", "keep checkpoint", "safetensors"],
            is_output_node=True,
            inputs=[
                RunSocket.Input("run", tooltip="The training run."),
                io.Int.Input(
                    "step", default=LAST, min=LAST, max=10_000_000, tooltip="The checkpoint's step; -1 is the last."
                ),
                io.String.Input(
                    "name",
                    default="",
                    placeholder="empty: the run's name and the step",
                    tooltip="File name; folder/name makes a folder in output/loras. A name that another file has gets "
                    "a counter.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(DTYPE_CHOICES),
                    default=DTYPE_CHOICES[0],
                    advanced=True,
                    tooltip="Number format of the file; keep leaves the checkpoint's bytes as they are.",
                ),
            ],
            outputs=[
                io.AnyType.Output(
                    "lora_name",
                    display_name="lora_name",
                    tooltip="The name as Load LoRA lists it; connects to its lora_name.",
                ),
                io.String.Output("path", display_name="path", tooltip="The file's full path."),
                io.String.Output("trigger", display_name="trigger", tooltip="The word to put into the prompt, if any."),
                io.String.Output("report", display_name="report", tooltip="What was saved and how to use it."),
            ],
        )

    @classmethod
    def execute(cls, run: Run, step: int, name: str, dtype: str = DTYPE_CHOICES[0]) -> io.NodeOutput:
        """Save the file; returns its name, path, trigger word and a report."""
        saved = save_lora(run, step, loras_folder(), name, dtype)
        report = saved.report()
        return io.NodeOutput(saved.name, str(saved.path), saved.trigger, report, ui={"text": [report]})


NODES: list[type[io.ComfyNode]] = [GlitchSaveLora]
