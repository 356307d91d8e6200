"""The workflow that makes damage a word to ask for, or to forbid: 03-glitch-tags."""

from typing import Any

from plan_demo import SIDE
from plans import NARROW, WIDE, Group, Plan, node, note

TAG = "glx_scan"

START = f"""## Glitch tags

Press **Run**. Nothing is downloaded, and nothing has to be chosen.

1. **Corrupt Dataset** puts scan lines over a copy of each picture and keeps the clean one (*keep_clean*).
2. **Corrupt Captions** with *glitch_tags* writes into each caption what its picture really went through: `{TAG}`, \
or nothing.
3. **Train LoRA** learns the word together with the damage.
4. **Sweep Grid**: with `{TAG}` in the prompt the damage comes. With `{TAG}` in the negative prompt it goes.

Without the clean twins the word would mean nothing: the LoRA would damage everything."""

DAMAGE = """**Other damage**: choose another *operation*. Its tag stands at the end of the report, and has to go into \
the prompts and the negative prompt of the sweep.

Several **Corrupt Dataset** in a row give several tags, each for itself."""

TRAINING = """**Longer than a style**: the model learns two things, the damage and when to leave it away. \
600 steps take some minutes without a graphics card."""

ASKING = """**Rows**: the same prompts without the tag and with it. **Columns**: without and with the tag in the \
negative prompt."""

PROMPTS = f"""a red star on a white background
{TAG}, a red star on a white background
a green ring on a white background
{TAG}, a green ring on a white background"""

# Heights leave room for the newer, taller design of nodes ("Nodes 2.0") and for the pictures that nodes show.
NODES: dict[str, dict[str, Any]] = {
    "start": note("Start here", START, WIDE, 440),
    "model": node("GlitchLoadDemoModel", height=110),
    "dataset": node("GlitchDemoDataset", height=200, values={"style": "plain", "pictures": 24}),
    "corrupt": node(
        "GlitchCorruptDataset",
        height=460,
        values={"operation": "scan_lines", "operation.period": 4, "keep_clean": True},
    ),
    "damage": note("Damage", DAMAGE, NARROW, 170),
    "captions": node(
        "GlitchCorruptCaptions", height=340, values={"operation": "glitch_tags", "operation.position": "prefix"}
    ),
    "told": node("PreviewAny", NARROW, 260, title="What the captions say"),
    "preview": node("GlitchPreviewDataset", 470, 520, values={"columns": 6, "cell": 96, "limit": 48}),
    "recipe": node(
        "GlitchRecipe",
        WIDE,
        540,
        values={
            "steps": 600,
            "batch_size": 4,
            "learning_rate": 0.001,
            "precision": "fp32",  # the model is small: on a graphics card bf16 would only blur it
            "rank": 16,
            "alpha": 16,
            "target_modules": "all-linear+conv",
            "caption_dropout": 0.1,
            "checkpoint_every": 300,
            "gradient_checkpointing": False,
            "sample_width": SIDE,
            "sample_height": SIDE,
            "sample_cfg": 4.0,
            "sample_scheduler": "simple",
        },
    ),
    "training": note("Training", TRAINING, WIDE, 120),
    "train": node("GlitchTrain", height=400, values={"name": "glitch-tags"}),
    "done": node("PreviewAny", height=200, title="What was done"),
    "sweep": node(
        "GlitchSweep",
        WIDE,
        680,
        values={
            "prompts": PROMPTS,
            "checkpoints": "last",
            "seeds": "0",
            "sizes": f"{SIDE}x{SIDE}",
            "steps": "20",
            "cfg": "4",
            "samplers": "euler",
            "schedulers": "simple",
            "negative": TAG,
            "negative_use": "with and without",
            "columns": "negative",
        },
    ),
    "asking": note("The sweep", ASKING, 640, 90),
    "grid": node("GlitchGrid", 640, 620),
}

ROWS: list[list[Group]] = [
    [
        ("1  Model and pictures", "#3f789e", [["start"], ["model", "dataset"]]),
        ("2  Damage, and its name in the captions", "#88A", [["corrupt", "damage"], ["captions", "told"]]),
        ("Look before training", "#8A8", [["preview"]]),
    ],
    [
        ("3  Train", "#b06634", [["recipe", "training"], ["train", "done"]]),
        ("4  Ask for it, forbid it", "#a1309b", [["sweep"], ["grid", "asking"]]),
    ],
]

LINKS: list[tuple[str, str, str, str]] = [
    ("dataset", "dataset", "corrupt", "dataset"),
    ("corrupt", "dataset", "captions", "dataset"),
    ("captions", "report", "told", "source"),
    ("captions", "dataset", "preview", "dataset"),
    ("captions", "dataset", "train", "dataset"),
    ("recipe", "recipe", "train", "recipe"),
    ("model", "model", "train", "model"),
    ("model", "clip", "train", "clip"),
    ("model", "vae", "train", "vae"),
    ("train", "report", "done", "source"),
    ("train", "run", "sweep", "run"),
    ("model", "model", "sweep", "model"),
    ("model", "clip", "sweep", "clip"),
    ("model", "vae", "sweep", "vae"),
    ("sweep", "sweep", "grid", "sweep"),
]

TAGS = Plan("03-glitch-tags", NODES, ROWS, LINKS)
