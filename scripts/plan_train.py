"""The workflow for a model and pictures of your own: 01-train-and-sweep."""

from typing import Any

from plans import NARROW, WIDE, Group, Plan, node, note

CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
CHECKPOINT_URL = f"https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/{CHECKPOINT}"
DATASET = "photographs"

START = """## Train and sweep

1. **Load Checkpoint**: choose a Stable Diffusion 1.5 (or SDXL, FLUX.1) model.
2. **Load Dataset**: drop 10 to 50 of your pictures on it, with captions as *.txt* files of the same name if you \
have them. They become a new folder in ComfyUI's *input*.
3. **Preview Dataset**: press its own run button to see what the model will be trained on. Nothing is trained yet.
4. **Run** trains, then renders the grid.

Every checkpoint is an ordinary LoRA file in *output/glitch_lora*. Running the same workflow again returns at once; \
a cancelled training goes on where it stopped.

Rare settings are folded away: right-click a node, *Show Advanced*."""

DAMAGE = """**Damage**: another *operation*, less *severity*, or several **Corrupt Dataset** in a row. After the \
framing the damage stays sharp.

Leave it out (Ctrl+B) for a clean training."""

TRAINING = """**Too strong or burnt?** Take an earlier checkpoint from the grid, or lower *learning_rate*. \
**Too weak?** More *steps*, or a higher *rank*.

SDXL and FLUX.1: *resolution* 1024, and samples and sweep at 1024x1024.

*mode: steps per queue* trains a part at a time; *reuse only* never starts a training."""

SWEEPING = """**Sweep**: any field takes a list, such as strengths *0.5, 1, 1.5* or cfg *3, 7, 30*. \
*rows* and *columns* choose what the grid shows; the rest becomes pages. Only missing pictures are rendered.

Load the best checkpoint in any workflow with **Apply Checkpoint**, or **Save LoRA**."""

PROMPTS = """glitchwork, portrait of an old sailor
glitchwork, a city street at night
glitchwork, a bowl of fruit on a table"""

_MODEL_FILE = {"name": CHECKPOINT, "url": CHECKPOINT_URL, "directory": "checkpoints"}

# Heights leave room for the newer, taller design of nodes ("Nodes 2.0") and for the pictures that nodes show.
NODES: dict[str, dict[str, Any]] = {
    "start": note("Start here", START, WIDE, 400),
    "checkpoint": node("CheckpointLoaderSimple", values={"ckpt_name": CHECKPOINT}, models=[_MODEL_FILE]),
    "dataset": node("GlitchLoadDataset", height=310, values={"folder": f"input/{DATASET}"}),
    "trigger": node("GlitchTriggerWord", height=200, values={"trigger": "glitchwork"}),
    "frame": node("GlitchFrameDataset", height=300, values={"framing": "buckets", "framing.resolution": 512}),
    "corrupt": node(
        "GlitchCorruptDataset", height=330, values={"operation": "jpeg_recompression", "operation.quality": 10}
    ),
    "damage": note("Damage", DAMAGE, NARROW, 140),
    "preview": node("GlitchPreviewDataset", 470, 460),
    "found": node("PreviewAny", 330, 460, title="What was found"),
    "recipe": node(
        "GlitchRecipe",
        WIDE,
        540,
        values={"steps": 1000, "checkpoint_every": 250, "sample_every": 250, "sample_prompts": PROMPTS},
    ),
    "training": note("Training", TRAINING, WIDE, 170),
    "train": node("GlitchTrain", height=400, values={"name": "glitch"}),
    "done": node("PreviewAny", height=200, title="What was done"),
    "plot": node("GlitchPlotTraining", 520, 540),
    "sweep": node("GlitchSweep", WIDE, 680),
    "sweeping": note("Sweep", SWEEPING, 640, 120),
    "grid": node("GlitchGrid", 640, 600),
}

ROWS: list[list[Group]] = [
    [
        ("1  Model and pictures", "#3f789e", [["start"], ["checkpoint", "dataset"]]),
        ("2  Trigger word, size and damage", "#88A", [["trigger", "frame"], ["corrupt", "damage"]]),
        ("Look before training", "#8A8", [["preview"], ["found"]]),
    ],
    [
        ("3  Train", "#b06634", [["recipe", "training"], ["train", "done"], ["plot"]]),
        ("4  Sweep", "#a1309b", [["sweep"], ["grid", "sweeping"]]),
    ],
]

LINKS: list[tuple[str, str, str, str]] = [
    ("dataset", "dataset", "trigger", "dataset"),
    ("checkpoint", "CLIP", "trigger", "clip"),
    ("trigger", "dataset", "frame", "dataset"),
    ("frame", "dataset", "corrupt", "dataset"),
    ("corrupt", "dataset", "preview", "dataset"),
    ("preview", "report", "found", "source"),
    ("corrupt", "dataset", "train", "dataset"),
    ("recipe", "recipe", "train", "recipe"),
    ("checkpoint", "MODEL", "train", "model"),
    ("checkpoint", "CLIP", "train", "clip"),
    ("checkpoint", "VAE", "train", "vae"),
    ("train", "report", "done", "source"),
    ("train", "run", "plot", "run"),
    ("train", "run", "sweep", "run"),
    ("checkpoint", "MODEL", "sweep", "model"),
    ("checkpoint", "CLIP", "sweep", "clip"),
    ("checkpoint", "VAE", "sweep", "vae"),
    ("sweep", "sweep", "grid", "sweep"),
]

TRAIN = Plan(
    "01-train-and-sweep", NODES, ROWS, LINKS, (f"models/checkpoints/{CHECKPOINT}", f"input/{DATASET}/picture.png")
)
