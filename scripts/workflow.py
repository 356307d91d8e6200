"""Build workflows/01-train-and-sweep.json in ComfyUI's own front end: ``python3 scripts/workflow.py``.

Run it after an input of a node was added or changed. It needs Chromium (GLITCH_CHROMIUM names another place).
The front end itself creates the nodes, so the order of the values in the file is right by construction.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from comfy_server import ComfyServer
from environment import ROOT
from rerun import again_in_environment, in_environment

WORKFLOW = ROOT / "workflows" / "01-train-and-sweep.json"
CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
CHECKPOINT_URL = f"https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/{CHECKPOINT}"
DATASET = "photographs"
GAP, TITLE, PADDING = 60, 30, 20
WIDE, NARROW = 400, 330

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


def _node(kind: str, width: int = NARROW, height: int = 0, **more: Any) -> dict[str, Any]:
    return {"type": kind, "width": width, "height": height, "values": {}, **more}


def _note(title: str, text: str, width: int, height: int) -> dict[str, Any]:
    return _node("MarkdownNote", width, height, title=title, values={"text": text}, colours=["#432", "#653"])


_MODEL_FILE = {"name": CHECKPOINT, "url": CHECKPOINT_URL, "directory": "checkpoints"}

# Heights leave room for the newer, taller design of nodes ("Nodes 2.0") and for the pictures that nodes show.
NODES: dict[str, dict[str, Any]] = {
    "start": _note("Start here", START, WIDE, 400),
    "checkpoint": _node("CheckpointLoaderSimple", values={"ckpt_name": CHECKPOINT}, models=[_MODEL_FILE]),
    "dataset": _node("GlitchLoadDataset", height=310, values={"folder": f"input/{DATASET}"}),
    "trigger": _node("GlitchTriggerWord", height=200, values={"trigger": "glitchwork"}),
    "frame": _node("GlitchFrameDataset", height=300, values={"framing": "buckets", "framing.resolution": 512}),
    "corrupt": _node(
        "GlitchCorruptDataset", height=330, values={"operation": "jpeg_recompression", "operation.quality": 10}
    ),
    "damage": _note("Damage", DAMAGE, NARROW, 140),
    "preview": _node("GlitchPreviewDataset", 470, 460),
    "found": _node("PreviewAny", 330, 460, title="What was found"),
    "recipe": _node(
        "GlitchRecipe",
        WIDE,
        540,
        values={"steps": 1000, "checkpoint_every": 250, "sample_every": 250, "sample_prompts": PROMPTS},
    ),
    "training": _note("Training", TRAINING, WIDE, 170),
    "train": _node("GlitchTrain", height=400, values={"name": "glitch"}),
    "done": _node("PreviewAny", height=200, title="What was done"),
    "plot": _node("GlitchPlotTraining", 520, 540),
    "sweep": _node("GlitchSweep", WIDE, 680),
    "sweeping": _note("Sweep", SWEEPING, 640, 120),
    "grid": _node("GlitchGrid", 640, 600),
}

# Titles and columns of the two rows of groups; a column is a list of nodes from top to bottom.
ROWS: list[list[tuple[str, str, list[list[str]]]]] = [
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

# From node and output to node and input.
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

_BUILD = """({nodes, rows, links, gap, title, padding}) => {
  const {graph} = app, made = {}
  graph.clear()
  const create = (name) => {
    const plan = nodes[name], node = LiteGraph.createNode(plan.type)
    if (!node) throw new Error(`${name}: no node ${plan.type}`)
    if (plan.title) node.title = plan.title
    if (plan.models) node.properties.models = plan.models
    if (plan.colours) [node.color, node.bgcolor] = plan.colours
    graph.add(node)
    for (const [input, value] of Object.entries(plan.values)) {
      const widget = node.widgets.find(each => each.name === input)
      if (!widget) throw new Error(`${name}: no input ${input}`)
      widget.value = value
      widget.callback?.(value, app.canvas, node)
    }
    node.setSize([plan.width, Math.max(plan.height, node.computeSize()[1])])
    return made[name] = node
  }
  let top = 0
  for (const groups of rows) {
    let left = 0, bottom = top
    for (const [text, colour, columns] of groups) {
      const first = left
      let lowest = top
      for (const column of columns) {
        let y = top + title, width = 0
        for (const name of column) {
          const node = create(name)
          node.pos = [left, y]
          y += node.size[1] + title + padding
          width = Math.max(width, node.size[0])
        }
        lowest = Math.max(lowest, y - title - padding)
        left += width + gap
      }
      const group = new LiteGraph.LGraphGroup(text)
      group.color = colour
      const head = 2 * title + padding
      group._bounding.set([first - padding, top - head + title, left - gap - first + 2 * padding,
        lowest - top + head - title + padding])
      graph.add(group)
      bottom = Math.max(bottom, lowest)
      left += padding
    }
    top = bottom + 2 * title + 3 * padding + title
  }
  for (const [from, output, to, input] of links) {
    const source = made[from], target = made[to]
    const slots = [source.findOutputSlot(output), target.findInputSlot(input)]
    if (slots.includes(-1)) throw new Error(`no link ${from}.${output} to ${to}.${input}`)
    source.connect(slots[0], target, slots[1])
  }
}"""


def main() -> int:
    """Write the workflow; 0 when it went well."""
    if not in_environment():
        return again_in_environment(__file__)
    _write(WORKFLOW, build(Path(os.environ["COMFYUI_PATH"])))
    print(WORKFLOW)
    return 0


def build(comfyui: Path) -> dict[str, Any]:
    """Return the workflow in UI form, as a front end of its own saves it."""
    from canvas import canvas, require_chromium

    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        lay_out_names(base)
        with (
            ComfyServer(comfyui, sys.executable, base) as server,
            canvas(server, require_chromium()) as page,
        ):
            plan = {"nodes": NODES, "rows": ROWS, "links": LINKS, "gap": GAP, "title": TITLE, "padding": PADDING}
            page.evaluate(_BUILD, plan)
            page.wait_for_timeout(500)
            return _without_session(page.evaluate("() => app.graph.serialize()"))


def lay_out_names(base: Path) -> None:
    """Put files of the names that the workflow chooses where the front end lists them."""
    checkpoint = base / "models" / "checkpoints" / CHECKPOINT
    picture = base / "input" / DATASET / "picture.png"
    for path in (checkpoint, picture):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _without_session(workflow: dict[str, Any]) -> dict[str, Any]:
    """Return the workflow without what differs from one session to the next."""
    workflow.pop("id", None)
    workflow.pop("revision", None)
    extra = workflow.get("extra", {})
    return workflow | {"extra": {name: extra[name] for name in ("linkExtensions",) if name in extra}}


def _write(path: Path, workflow: dict[str, Any]) -> None:
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(workflow, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(unfinished, path)


if __name__ == "__main__":
    sys.exit(main())
