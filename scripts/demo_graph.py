"""What the demo changes in the shipped workflows before it runs them. Standard library only."""

from __future__ import annotations  # an older Python must get as far as being told which one is needed

from pathlib import Path
from typing import Any

WORKFLOWS = Path(__file__).resolve().parent.parent / "workflows"
DEMO, TRAIN = WORKFLOWS / "00-demo.json", WORKFLOWS / "01-train-and-sweep.json"
Json = dict[str, Any]

# Each style with its trigger word and what it looks like.
STYLES: dict[str, tuple[str, str]] = {
    "particles": ("prtkl", "swarms of dots"),
    "halftone": ("hlftn", "the dots of coarse print"),
    "collage": ("cllg", "pieces of cut paper"),
    "vhs": ("vhstp", "the lines and fringes of a worn tape"),
    "heart": ("heart", "hearts, a shape the model has never seen"),
}
# The concept's word is part of the sentence, so the workflow's own prompts cannot ask for it.
HEART = {"text": "a blue heart on a white background\na red heart on a white background", "trigger": "as is"}
DEMO_SIDE = 64
# With a checkpoint of one's own. A processor without a graphics card gets smaller pictures, fewer steps and cells:
# node type, then input name and value. Nothing else of the shipped workflow is changed.
CHECKPOINT_STEPS = 24
SMALLER: dict[str, Json] = {
    "GlitchFrameDataset": {"framing.resolution": 256, "framing.min_side": 128, "framing.max_side": 512},
    "GlitchRecipe": {"sample_width": 256, "sample_height": 256, "sample_steps": 8},
    "GlitchSweep": {"sizes": "256x256", "steps": "8"},
}


def switched_on(workflow: Json, class_type: str) -> Json:
    """Return a workflow in UI form whose bypassed nodes of that type take part."""
    found = [node for node in workflow["nodes"] if node["type"] == class_type]
    if not found:
        raise ValueError(f"workflow: no {class_type} in it, repair the workflow file")
    return workflow | {
        "nodes": [node | {"mode": 0} if node["type"] == class_type else node for node in workflow["nodes"]]
    }


def in_style(prompt: Json, style: str) -> Json:
    """Return the demo, in API form, with another style and prompts that ask for it."""
    changed = with_values(prompt, {"GlitchDemoDataset": {"style": style}})
    return with_values(changed, {"GlitchPromptSet": HEART}) if style == "heart" else changed


def with_own_pictures(prompt: Json, other: Json) -> Json:
    """Return the demo, in API form, on Load Dataset, Trigger Word and Frame Dataset of the other workflow.

    Pictures are framed to the demo model's size. The last of the three takes the Demo Dataset's place.
    """
    load, trigger, frame = (
        next((number, node) for number, node in other.items() if node["class_type"] == kind)
        for kind in ("GlitchLoadDataset", "GlitchTriggerWord", "GlitchFrameDataset")
    )
    place = next(number for number, node in prompt.items() if node["class_type"] == "GlitchDemoDataset")
    clip = next(node["inputs"]["clip"] for node in prompt.values() if node["class_type"] == "GlitchTrain")
    kept = {name: value for name, value in frame[1]["inputs"].items() if not name.startswith("framing")}
    size = {"framing": "fixed size", "framing.width": DEMO_SIDE, "framing.height": DEMO_SIDE}
    size |= {"framing.fit": "cover-crop", "framing.pad_colour": "#000000"}
    names = [f"own-{load[0]}", f"own-{trigger[0]}"]
    return prompt | {
        names[0]: load[1],
        names[1]: _with_inputs(trigger[1], {"dataset": [names[0], 0], "clip": clip}),
        place: frame[1] | {"inputs": kept | size | {"dataset": [names[1], 0]}},
    }


def with_steps(prompt: Json, steps: int, checkpoints: int) -> Json:
    """Return the workflow with that many training steps and checkpoints on the way."""
    return with_values(prompt, {"GlitchRecipe": {"steps": steps, "checkpoint_every": max(1, steps // checkpoints)}})


def with_checkpoint(prompt: Json, name: str, steps: int, small: bool) -> Json:
    """Return 01-train-and-sweep with the user's checkpoint, `steps`, three samples on the way and, small, SMALLER."""
    changed = with_values(prompt, {"CheckpointLoaderSimple": {"ckpt_name": name}})
    changed = with_steps(changed, steps, 3)
    changed = with_values(changed, {"GlitchRecipe": {"sample_every": max(1, steps // 3)}})
    return with_values(changed, SMALLER) if small else changed


def with_values(prompt: Json, changes: dict[str, Json]) -> Json:
    """Return a workflow in API form with other values, given by node type and input name.

    Raises ValueError for an input that no node of the type has, or that is a wire: the lists here are out of date.
    """
    for class_type, values in changes.items():
        numbers = [number for number, node in prompt.items() if node["class_type"] == class_type]
        for name in values:
            if not any(not isinstance(prompt[number]["inputs"].get(name, []), list) for number in numbers):
                raise ValueError(f"workflow: no {class_type} with {name!r} in it, correct demo_graph.py")
        prompt = prompt | {number: _with_inputs(prompt[number], values) for number in numbers}
    return prompt


def value(prompt: Json, class_type: str, name: str) -> Any:
    """Return what an input has on the first node of a type. Raises ValueError when there is none."""
    for node in prompt.values():
        if node["class_type"] == class_type and name in node["inputs"]:
            return node["inputs"][name]
    raise ValueError(f"workflow: no {class_type} with {name!r} in it, repair the workflow file")


def _with_inputs(node: Json, values: Json) -> Json:
    return node | {"inputs": node["inputs"] | values}
