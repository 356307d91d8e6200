"""The recipe and the training, in the menu folder Glitch LoRA/training."""

from typing import Any, get_args

from comfy_api.latest import io

from ..host.folders import RUNS_FOLDER, embeddings_folder, loras_folder, output_folder
from ..training.recipe import (
    CacheIn,
    LearningRateSchedule,
    Mode,
    Precision,
    Recipe,
    SampleSettings,
    SaveDtype,
    TargetModules,
)
from .sockets import DatasetSocket, RecipeSocket, RunSocket

CATEGORY = "Glitch LoRA/training"
MAX_STEPS = 10_000_000
MAX_SEED = 2**53 - 1  # what JavaScript can count
DEFAULT = Recipe()
# How many trainings of this process were handed over unfinished; node classes cannot hold state.
_unfinished = [0]


class GlitchRecipe(io.ComfyNode):
    """The settings of a training."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchRecipe",
            display_name="Recipe",
            category=CATEGORY,
            description="The settings of a LoRA training: how long, how fast, how large, and what is saved on the way.",
            search_aliases=["lora settings", "training settings", "hyperparameters", "learning rate", "rank", "epochs"],
            inputs=[*_length_inputs(), *_network_inputs(), *_caption_inputs(), *_saving_inputs(), *_sample_inputs()],
            outputs=[RecipeSocket.Output(display_name="recipe", tooltip="The settings, for Train LoRA.")],
        )

    @classmethod
    def execute(cls, **settings: Any) -> io.NodeOutput:
        samples = {name.removeprefix("sample_"): settings.pop(name) for name in list(settings) if name[:7] == "sample_"}
        samples["prompts"] = _lines(samples["prompts"])
        samples["seeds"] = _whole_numbers("sample_seeds", samples["seeds"])
        return io.NodeOutput(Recipe(**settings, samples=SampleSettings(**samples)))


class GlitchTrain(io.ComfyNode):
    """The training."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchTrain",
            display_name="Train LoRA",
            category=CATEGORY,
            description=(
                "Trains a LoRA on the model in the graph. Every checkpoint is an ordinary LoRA file in the run's "
                "folder. Queueing the same graph again returns at once; a cancelled training goes on where it stopped. "
                "The MODEL, CLIP and VAE that come in are not changed."
            ),
            search_aliases=["lora trainer", "finetune", "fine-tune", "dreambooth", "train style", "kohya"],
            is_output_node=True,
            inputs=[
                DatasetSocket.Input("dataset", tooltip="Framed pictures and captions (Frame Dataset)."),
                RecipeSocket.Input("recipe", tooltip="The settings of the training (Recipe)."),
                io.Model.Input(
                    "model",
                    tooltip="The base, with or without LoRAs on it; a private copy is trained. "
                    "Stable Diffusion 1.5, SDXL, FLUX.1 or the demo model.",
                ),
                io.Clip.Input("clip", tooltip="Encodes the captions. Its clip skip is kept with the run."),
                io.Vae.Input("vae", tooltip="Encodes the pictures."),
                io.String.Input(
                    "name", default="glitch", tooltip="Name of the run's folder and of the LoRA files in it."
                ),
                io.DynamicCombo.Input(
                    "mode",
                    options=[
                        io.DynamicCombo.Option("train", []),
                        io.DynamicCombo.Option("reuse only", []),
                        io.DynamicCombo.Option(
                            "steps per queue",
                            [
                                io.Int.Input(
                                    "steps_per_queue",
                                    default=100,
                                    min=1,
                                    max=MAX_STEPS,
                                    tooltip="Train this many steps, hand over the checkpoint, go on at the next queue.",
                                )
                            ],
                        ),
                    ],
                    tooltip="train: to the end. reuse only: never start a training, use the run that is there. "
                    "steps per queue: a part each time, so that other jobs get their turn.",
                ),
                io.Combo.Input(
                    "on_cancel",
                    options=["stop", "keep"],
                    default="stop",
                    advanced=True,
                    tooltip="What Cancel does after saving: stop the graph, or keep the last checkpoint "
                    "and let the rest of the graph use it.",
                ),
            ],
            outputs=[
                RunSocket.Output(display_name="run", tooltip="The run folder, for Sweep, Apply Checkpoint and plots."),
                io.LoraModel.Output(
                    display_name="lora",
                    tooltip="The last checkpoint's weights, for Load LoRA Model and Save LoRA Weights.",
                ),
                io.LossMap.Output(display_name="loss", tooltip="The loss of each step, for Plot Loss Graph."),
                io.Image.Output(
                    display_name="samples", is_output_list=True, tooltip="The newest sample pictures, if any were made."
                ),
                io.String.Output(display_name="report", tooltip="What was done, and where the files are."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> Any:
        mode = inputs.get("mode")
        chosen = mode.get("mode") if isinstance(mode, dict) else mode
        # Parts and reuse look anew at each queue: a fresh NaN differs from every key before it. A training is looked
        # at again only after one that did not end, or ComfyUI would hand out its kept half for good.
        return _unfinished[0] if chosen == "train" else float("nan")

    @classmethod
    def execute(
        cls,
        dataset: Any,
        recipe: Any,
        model: Any,
        clip: Any,
        vae: Any,
        name: str,
        mode: Any = None,
        on_cancel: str = "stop",
    ) -> io.NodeOutput:
        from ..host.choices import require_choice, skipped_output
        from ..host.embeddings import is_named_elsewhere
        from ..host.graph import ComfyGraph
        from ..host.images import to_tensor
        from ..host.progress import TrainingEvents
        from ..training.session import Request, train

        chosen = require_choice(mode, "mode", get_args(Mode), cls.hidden.prompt)
        root = output_folder() / RUNS_FOLDER
        request = Request(
            name=name,
            root=root,
            loras_folder=loras_folder(),
            cache_folder=root / "cache",
            mode=chosen["mode"],
            steps_per_queue=chosen.get("steps_per_queue", 0),
            keep_on_cancel=on_cancel == "keep",
            embeddings_folder=embeddings_folder(),
            is_taken=is_named_elsewhere,
            extra={"workflow": (cls.hidden.extra_pnginfo or {}).get("workflow")},
        )
        outcome = train(ComfyGraph(model, clip, vae), dataset, recipe, request, TrainingEvents())
        _unfinished[0] += outcome.step < outcome.total_steps
        samples = [to_tensor(image) for image in outcome.newest_samples()] or [skipped_output()]
        return io.NodeOutput(
            outcome.run,
            outcome.lora(),
            {"loss": outcome.run.losses()},
            samples,
            outcome.report,
        )


def _length_inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            "steps",
            default=DEFAULT.steps,
            min=1,
            max=MAX_STEPS,
            tooltip="Optimizer updates. More steps: stronger, then burnt in.",
        ),
        io.Int.Input(
            "epochs",
            default=0,
            min=0,
            max=100_000,
            advanced=True,
            tooltip="Passes over the dataset, repeats counted; above 0 it replaces steps.",
        ),
        io.Int.Input(
            "batch_size",
            default=DEFAULT.batch_size,
            min=1,
            max=1024,
            tooltip="Pictures per forward pass; memory grows with it.",
        ),
        io.Int.Input(
            "grad_accumulation_steps",
            default=1,
            min=1,
            max=4096,
            advanced=True,
            tooltip="Forward passes per update: the effect of a larger batch without its memory.",
        ),
        io.Float.Input(
            "learning_rate",
            default=DEFAULT.learning_rate,
            min=0.0,
            max=1e3,
            step=1e-6,
            round=1e-9,
            tooltip="Size of each update. 1e-4 is usual; 1e-3 breaks textures and contrast.",
        ),
        io.Combo.Input(
            "lr_schedule",
            options=list(get_args(LearningRateSchedule)),
            default=DEFAULT.lr_schedule,
            tooltip="How the rate changes: constant (a run can be continued later), cosine or linear down to zero.",
        ),
        io.Int.Input(
            "warmup_steps",
            default=0,
            min=0,
            max=MAX_STEPS,
            advanced=True,
            tooltip="Steps over which the rate rises from zero.",
        ),
        io.Float.Input(
            "weight_decay",
            default=DEFAULT.weight_decay,
            min=0.0,
            max=100.0,
            step=0.001,
            advanced=True,
            tooltip="AdamW's decoupled weight decay.",
        ),
        io.Float.Input(
            "max_grad_norm",
            default=DEFAULT.max_grad_norm,
            min=0.0,
            max=1e9,
            step=0.1,
            advanced=True,
            tooltip="Longest gradient allowed; longer ones are shortened. 0 turns clipping off.",
        ),
    ]


def _network_inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            "rank",
            default=DEFAULT.rank,
            min=1,
            max=4096,
            tooltip="Size of the LoRA: more can hold more, and memorise more.",
        ),
        io.Float.Input(
            "alpha",
            default=DEFAULT.alpha,
            min=0.0,
            max=1e6,
            step=0.5,
            tooltip="The LoRA acts with strength alpha / rank. Equal to rank: 1.",
        ),
        io.Float.Input(
            "lora_dropout",
            default=0.0,
            min=0.0,
            max=0.99,
            step=0.01,
            advanced=True,
            tooltip="Part of each adapter's input set to zero at random while training.",
        ),
        io.Combo.Input(
            "target_modules",
            options=list(get_args(TargetModules)),
            default=DEFAULT.target_modules,
            tooltip="Layers that learn: attention only, with feed-forward, every linear layer, or convolutions too.",
        ),
    ]


def _caption_inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "caption_dropout",
            default=DEFAULT.caption_dropout,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="How often a picture is trained without its caption, trigger and all; drawn anew each step.",
        ),
        io.Float.Input(
            "partial_caption_dropout",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip="How often each comma-separated part of a caption is left out; the trigger word stays.",
        ),
        io.Int.Input(
            "variants",
            default=DEFAULT.variants,
            min=1,
            max=256,
            advanced=True,
            tooltip="Pre-encoded variants per picture where a random crop, flip or partial dropout makes them differ.",
        ),
        io.Boolean.Input(
            "prompt_syntax",
            default=False,
            advanced=True,
            tooltip="Read (word:1.2) in captions as a prompt weight. Off: brackets and colons are plain text.",
        ),
    ]


def _saving_inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            "checkpoint_every",
            default=DEFAULT.checkpoint_every,
            min=0,
            max=MAX_STEPS,
            tooltip="Steps between checkpoints, each an ordinary LoRA file. 0 keeps only the last.",
        ),
        io.Combo.Input(
            "save_dtype",
            options=list(get_args(SaveDtype)),
            default=DEFAULT.save_dtype,
            advanced=True,
            tooltip="Number format of the LoRA files. Training itself always keeps fp32 adapters.",
        ),
        io.Combo.Input(
            "precision",
            options=list(get_args(Precision)),
            default=DEFAULT.precision,
            advanced=True,
            tooltip="Number format the frozen model computes in. auto: bf16 or fp16 on a GPU that has it, else fp32.",
        ),
        io.Boolean.Input(
            "gradient_checkpointing",
            default=DEFAULT.gradient_checkpointing,
            advanced=True,
            tooltip="Recompute each block in the backward pass: far less memory, about a third more time.",
        ),
        io.Combo.Input(
            "cache_in",
            options=list(get_args(CacheIn)),
            default=DEFAULT.cache_in,
            advanced=True,
            tooltip="Where encoded pictures and captions wait. disk: used again by the next training on them.",
        ),
        io.Boolean.Input(
            "deterministic",
            default=False,
            advanced=True,
            tooltip="On CUDA, use deterministic kernels only (slower). The CPU always gives the same tensors.",
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=MAX_SEED,
            control_after_generate=False,  # else the front end adds a control that draws another seed at each queue
            tooltip="Of initial weights, order, noise and dropout. Stays as it is: another seed is another training.",
        ),
    ]


def _sample_inputs() -> list[io.Input]:
    sample = DEFAULT.samples
    return [
        io.Int.Input(
            "sample_every",
            default=0,
            min=0,
            max=MAX_STEPS,
            tooltip="Steps between sample pictures on the node. 0 makes none.",
        ),
        io.String.Input(
            "sample_prompts",
            default="",
            multiline=True,
            tooltip="One prompt a line, drawn at each sampling. Also the sweep's prompts if it has none of its own.",
        ),
        io.String.Input("sample_negative", default="", advanced=True, tooltip="Negative prompt of the samples."),
        io.String.Input(
            "sample_seeds",
            default="0",
            advanced=True,
            tooltip="Seeds of the samples, separated by commas; one picture each.",
        ),
        io.Int.Input(
            "sample_width",
            default=sample.width,
            min=16,
            max=16384,
            step=8,
            advanced=True,
            tooltip="Width of the samples in pixels.",
        ),
        io.Int.Input(
            "sample_height",
            default=sample.height,
            min=16,
            max=16384,
            step=8,
            advanced=True,
            tooltip="Height of the samples in pixels.",
        ),
        io.Int.Input(
            "sample_steps",
            default=sample.steps,
            min=1,
            max=10_000,
            advanced=True,
            tooltip="Sampler steps of the samples.",
        ),
        io.Float.Input(
            "sample_cfg",
            default=sample.cfg,
            min=0.0,
            max=100.0,
            step=0.1,
            advanced=True,
            tooltip="Guidance scale of the samples.",
        ),
        io.Combo.Input(
            "sample_sampler",
            options=list(_samplers()),
            default=sample.sampler,
            advanced=True,
            tooltip="Sampler of the samples.",
        ),
        io.Combo.Input(
            "sample_scheduler",
            options=list(_schedulers()),
            default=sample.scheduler,
            advanced=True,
            tooltip="Scheduler of the samples.",
        ),
    ]


def _samplers() -> tuple[str, ...]:
    from ..host.rendering import sampler_names

    return sampler_names()


def _schedulers() -> tuple[str, ...]:
    from ..host.rendering import scheduler_names

    return scheduler_names()


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _whole_numbers(name: str, text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise ValueError(
            f"{name}: got {text!r}, allowed whole numbers from 0 separated by commas, e.g. 0, 1, 2, correct it"
        )
    return tuple(int(part) for part in parts)


NODES: list[type[io.ComfyNode]] = [GlitchRecipe, GlitchTrain]
