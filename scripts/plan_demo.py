"""The workflow that needs nothing but Run: 00-demo, on the model and the datasets that come with the pack."""

from typing import Any

from plans import BYPASSED, NARROW, WIDE, Group, Plan, node, note

SIDE = 64

START = """## A LoRA in minutes

Press **Run**. Nothing is downloaded, and nothing has to be chosen.

1. **Load Demo Model**: a small model that draws coloured shapes, 64 by 64 pixels large.
2. **Demo Dataset** draws 24 pictures with captions, in a style that the model does not know.
3. **Train LoRA** teaches the model that style. Without a graphics card it takes a few minutes.
4. **Sweep Grid** shows every checkpoint beside the base model: from left to right the style appears where the prompt \
has the trigger word. The row below, without the word, shows how much of it leaks: here nearly all, because the LoRA \
has seen nothing without the style.

Then change something, another *style* or the prompts, and press **Run** again: only what is new is computed.

With a model and pictures of your own: *Workflow > Browse Templates*, *01-train-and-sweep*."""

DAMAGE = """**Off at first.** Click **Corrupt Dataset**, press Ctrl+B to rot the dataset, then **Run**: the LoRA \
learns the damage together with the style, and the grid shows it.

Try another *operation*, or less *severity*."""

TRAINING = """**A small model takes large steps**: *learning_rate* 0.001, four pictures at a time, every layer. \
A large model wants about 0.0001.

Each training stays in *output/glitch_lora*; its checkpoints are ordinary LoRA files. Running again returns at once, \
and a cancelled training goes on where it stopped."""

ASKING = """**Prompt Set** asks for each line with the trigger word and without it. No drawn \
dataset has these pairs of colour and shape.

For the style *heart* write *a blue heart on a white background* and set *trigger* to *as is*."""

SWEEPING = """**Sweep**: any field takes a list, such as strengths *0.5, 1, 1.5* or cfg *1, 4, 15*. \
*rows* and *columns* choose what the grid shows; the rest becomes pages. Only missing pictures are rendered."""

PROMPTS = """a red star on a white background
a green ring on a white background"""

# Heights leave room for the newer, taller design of nodes ("Nodes 2.0") and for the pictures that nodes show.
NODES: dict[str, dict[str, Any]] = {
    "start": note("Start here", START, WIDE, 440),
    "model": node("GlitchLoadDemoModel", height=110),
    "dataset": node("GlitchDemoDataset", height=200, values={"style": "halftone", "pictures": 24}),
    "corrupt": node(
        "GlitchCorruptDataset",
        height=330,
        values={"operation": "jpeg_recompression", "operation.quality": 10},
        mode=BYPASSED,
    ),
    "damage": note("Damage", DAMAGE, NARROW, 120),
    "preview": node("GlitchPreviewDataset", 470, 480, values={"columns": 6, "cell": 96}),
    "found": node("PreviewAny", 330, 480, title="What was drawn"),
    "recipe": node(
        "GlitchRecipe",
        WIDE,
        540,
        values={
            "steps": 300,
            "batch_size": 4,
            "learning_rate": 0.001,
            "lr_schedule": "cosine",
            "precision": "fp32",  # the model is small: on a graphics card bf16 would only blur it
            "rank": 16,
            "alpha": 16,
            "target_modules": "all-linear+conv",
            "caption_dropout": 0.1,
            "checkpoint_every": 75,
            "gradient_checkpointing": False,
            "sample_width": SIDE,
            "sample_height": SIDE,
            "sample_cfg": 4.0,
            "sample_scheduler": "simple",
        },
    ),
    "training": note("Training", TRAINING, WIDE, 150),
    "train": node("GlitchTrain", height=400, values={"name": "demo"}),
    "done": node("PreviewAny", height=200, title="What was done"),
    "plot": node("GlitchPlotTraining", 520, 540),
    "prompts": node("GlitchPromptSet", height=340, values={"text": PROMPTS, "trigger": "with and without"}),
    "asking": note("Prompts", ASKING, NARROW, 150),
    "sweep": node(
        "GlitchSweep",
        WIDE,
        600,
        values={
            "seeds": "0",
            "sizes": f"{SIDE}x{SIDE}",
            "steps": "20",
            "cfg": "4",
            "samplers": "euler",
            "schedulers": "simple",
        },
    ),
    "sweeping": note("Sweep", SWEEPING, 640, 90),
    "grid": node("GlitchGrid", 640, 560),
}

ROWS: list[list[Group]] = [
    [
        ("1  Model and pictures", "#3f789e", [["start"], ["model", "dataset"]]),
        ("Damage, if you like", "#88A", [["corrupt", "damage"]]),
        ("Look before training", "#8A8", [["preview"], ["found"]]),
    ],
    [
        ("2  Train", "#b06634", [["recipe", "training"], ["train", "done"], ["plot"]]),
        ("3  Sweep", "#a1309b", [["prompts", "asking"], ["sweep"], ["grid", "sweeping"]]),
    ],
]

LINKS: list[tuple[str, str, str, str]] = [
    ("dataset", "dataset", "corrupt", "dataset"),
    ("corrupt", "dataset", "preview", "dataset"),
    ("preview", "report", "found", "source"),
    ("corrupt", "dataset", "train", "dataset"),
    ("recipe", "recipe", "train", "recipe"),
    ("model", "model", "train", "model"),
    ("model", "clip", "train", "clip"),
    ("model", "vae", "train", "vae"),
    ("train", "report", "done", "source"),
    ("train", "run", "plot", "run"),
    ("dataset", "dataset", "prompts", "dataset"),
    ("prompts", "text", "sweep", "prompts"),
    ("train", "run", "sweep", "run"),
    ("model", "model", "sweep", "model"),
    ("model", "clip", "sweep", "clip"),
    ("model", "vae", "sweep", "vae"),
    ("sweep", "sweep", "grid", "sweep"),
]

DEMO = Plan("00-demo", NODES, ROWS, LINKS)
