"""Nodes of the menu folder Glitch LoRA/weights."""

from typing import Any

from comfy_api.latest import io

from ..glitch.loras.bending import bend_lora
from ..glitch.loras.description import describe_lora
from ..glitch.registry import all_operations
from ..host.choices import require_choice
from ..host.embeddings import is_named_elsewhere
from ..host.folders import embeddings_folder, loras_folder
from ..host.lora_files import lora_files, lora_path
from ..host.progress import check_interrupt
from ..training.lora_file import load_safetensors
from ..training.publish import DTYPE_CHOICES, WORD_CHOICES, save_lora
from ..training.publish_words import WORD_DTYPES, save_embeddings
from ..training.run import LAST, Run
from ..training.words import prompt_text, split_bundle
from .inputs import operation_input, seed_input, severity_input
from .sockets import RunSocket

CATEGORY = "Glitch LoRA/weights"
_NO_FILES = "(no LoRA files yet)"
ONLY_BLOCKS = (
    "A regular expression over layer names and blocks such as attn2, input 4 or middle|output; other layers stay as "
    "they are. Empty: all."
)


class GlitchSaveLora(io.ComfyNode):
    """Saves a checkpoint where Load LoRA finds it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchSaveLora",
            display_name="Save LoRA (Glitch)",
            category=CATEGORY,
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
                io.Combo.Input(
                    "embeddings",
                    options=list(WORD_CHOICES),
                    default=WORD_CHOICES[0],
                    optional=True,
                    advanced=True,
                    tooltip="Words that were trained with the LoRA: bundle puts them into the file too, for OneTrainer "
                    "and A1111. ComfyUI reads them from files of their own: Save Embedding.",
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
    def execute(
        cls, run: Run, step: int, name: str, dtype: str = DTYPE_CHOICES[0], embeddings: str = WORD_CHOICES[0]
    ) -> io.NodeOutput:
        """Save the file; returns its name, path, trigger word and a report."""
        saved = save_lora(run, step, loras_folder(), name, dtype, embeddings)
        report = saved.report()
        return io.NodeOutput(saved.name, str(saved.path), saved.trigger, report, ui={"text": [report]})


class GlitchSaveEmbedding(io.ComfyNode):
    """Saves the words of a checkpoint where prompts find them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchSaveEmbedding",
            display_name="Save Embedding (Glitch)",
            category=CATEGORY,
            description="Saves the words that a run trained (textual inversion) as embedding files in "
            "output/embeddings, where embedding:name in a prompt finds them. Never overwrites another file.",
            search_aliases=["textual inversion", "export embedding", "pivotal tuning", "publish embedding", "new word"],
            is_output_node=True,
            inputs=[
                RunSocket.Input("run", tooltip="The training run."),
                io.Int.Input(
                    "step", default=LAST, min=LAST, max=10_000_000, tooltip="The checkpoint's step; -1 is the last."
                ),
                io.String.Input("token", default="", tooltip="Which of the run's words to save; empty: all of them."),
                io.String.Input(
                    "name",
                    default="",
                    placeholder="empty: the word",
                    tooltip="File name, which is the name in the prompt. Other characters than letters, digits, _, - "
                    "and dots become -. A name that another embedding has gets a counter.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(WORD_DTYPES),
                    default=WORD_DTYPES[0],
                    advanced=True,
                    tooltip="Number format of the file; fp32 keeps the vectors as they were trained.",
                ),
            ],
            outputs=[
                io.String.Output(
                    "prompt_text",
                    display_name="prompt_text",
                    is_output_list=True,
                    tooltip="What to write in a prompt, one text for each file: embedding: and its name.",
                ),
                io.String.Output("path", display_name="path", is_output_list=True, tooltip="Each file's full path."),
                io.String.Output("report", display_name="report", tooltip="What was saved and how to use it."),
            ],
        )

    @classmethod
    def execute(cls, run: Run, step: int, token: str, name: str, dtype: str = WORD_DTYPES[0]) -> io.NodeOutput:
        """Save the files; returns their prompt texts, their paths and a report."""
        saved = save_embeddings(run, step, embeddings_folder(), token, name, dtype, is_named_elsewhere)
        report = "\n".join(word.report() for word in saved)
        texts, paths = [word.prompt_text for word in saved], [str(word.path) for word in saved]
        return io.NodeOutput(texts, paths, report, ui={"text": [report]})


class GlitchLoadLora(io.ComfyNode):
    """Loads a LoRA as tensors, to bend it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchLoadLora",
            display_name="Load LoRA Weights",
            category=CATEGORY,
            description="Loads a LoRA file or a checkpoint of a run as LORA_MODEL: the weights themselves, to be bent, "
            "blended or transplanted, and put on a model with ComfyUI's Load LoRA Model.",
            search_aliases=["lora model", "open lora", "lora file", "lora weights", "bend lora"],
            inputs=[io.DynamicCombo.Input("source", options=_sources(), tooltip="Where the LoRA is.")],
            outputs=[
                io.LoraModel.Output("lora", display_name="lora", tooltip="For Bend LoRA, Load LoRA Model, Save LoRA."),
                io.String.Output("trigger", display_name="trigger", tooltip="The word to put into the prompt, if any."),
                io.String.Output("report", display_name="report", tooltip="Layers, ranks and strength by block."),
            ],
            hidden=[io.Hidden.prompt],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> Any:
        source = inputs.get("source")
        name = source.get("lora_name") if isinstance(source, dict) else inputs.get("source.lora_name")
        if name not in lora_files():
            return ""
        status = lora_path(name).stat()
        return [name, status.st_size, status.st_mtime_ns]

    @classmethod
    def execute(cls, source: dict[str, Any] | None = None) -> io.NodeOutput:
        """Return the tensors, the trigger word and what is in the file."""
        chosen = require_choice(source, "source", ("file", "run"), cls.hidden.prompt)
        if chosen["source"] == "file":
            path, trigger = lora_path(chosen["lora_name"]), ""
        else:
            path, trigger = chosen["run"].checkpoint(chosen["step"]).path, chosen["run"].trigger
        tensors, metadata = load_safetensors(path)
        tensors, words = split_bundle(tensors)
        report = f"{path.name}\n{describe_lora(tensors)}"
        if words:
            report += f"\nIt carries {', '.join(map(prompt_text, words))}, which no LORA_MODEL holds: left out."
        return io.NodeOutput(tensors, metadata.get("glitch_lora.trigger") or trigger, report)


def _sources() -> list[io.DynamicCombo.Option]:
    file = io.Combo.Input(
        "lora_name", options=lora_files() or [_NO_FILES], tooltip="A file of ComfyUI's loras folders. R lists new ones."
    )
    step = io.Int.Input(
        "step", default=LAST, min=LAST, max=10_000_000, tooltip="The checkpoint's step; -1 is the last."
    )
    run = RunSocket.Input("run", tooltip="A training run: Open Run or Train LoRA.")
    return [io.DynamicCombo.Option("file", [file]), io.DynamicCombo.Option("run", [run, step])]


class GlitchBendLora(io.ComfyNode):
    """Bends the weights of a LoRA."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchBendLora",
            display_name="Bend LoRA",
            category=CATEGORY,
            description="Changes what a LoRA does by changing its weights: strengths by block, spectrum, noise, bits, "
            "channels, layers. The LoRA that comes in stays as it is, and no model is touched.",
            search_aliases=["lora bending", "block weight", "svd", "quantize lora", "prune", "dare", "databend lora"],
            inputs=[
                io.LoraModel.Input("lora", tooltip="Load LoRA Weights, Train LoRA, or a LORA_MODEL of another pack."),
                operation_input(all_operations("loras")),
                severity_input(),
                io.Boolean.Input(
                    "norm_match",
                    default=False,
                    tooltip="Give each bent layer its strength back, so that structure and not strength is compared.",
                ),
                io.String.Input("only_blocks", default="", tooltip=ONLY_BLOCKS),
                seed_input("Of everything that is drawn. Each layer has its own stream."),
            ],
            outputs=[
                io.LoraModel.Output("lora", display_name="lora", tooltip="The bent LoRA."),
                io.String.Output("report", display_name="report", tooltip="How much each block changed."),
            ],
            hidden=[io.Hidden.prompt],
        )

    @classmethod
    def execute(
        cls,
        lora: dict[str, Any],
        severity: float,
        norm_match: bool,
        only_blocks: str,
        seed: int,
        operation: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        """Return the bent LoRA and how much each block changed."""
        names = [known.name for known in all_operations("loras")]
        values = dict(require_choice(operation, "operation", names, cls.hidden.prompt))
        name = values.pop("operation")
        bent = bend_lora(
            lora,
            name,
            values,
            severity=severity,
            seed=seed,
            norm_match=norm_match,
            only_blocks=only_blocks,
            check=check_interrupt,
        )
        return io.NodeOutput(bent.tensors, bent.report)


NODES: list[type[io.ComfyNode]] = [GlitchSaveLora, GlitchSaveEmbedding, GlitchLoadLora, GlitchBendLora]
