"""Nodes of the menu folder Glitch LoRA/demo: a model and datasets that come with the pack."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io

from ..dataset.captions import TriggerWord
from ..dataset.dataset import Dataset
from ..dataset.kept_folder import kept_dataset
from ..dataset.report import describe_dataset
from ..demo.datasets import DATASETS, PLAIN, draw_dataset
from ..demo.scenes import SIZE
from ..demo.styles import STYLES
from ..host.folders import demo_datasets_folder
from ..host.version import fitting_comfyui
from .inputs import seed_input
from .sockets import DatasetSocket

CATEGORY = "Glitch LoRA/demo"


class GlitchLoadDemoModel(io.ComfyNode):
    """Gives MODEL, CLIP and VAE of the model that comes with the pack."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchLoadDemoModel",
            display_name="Load Demo Model",
            category=CATEGORY,
            description=f"A small model of coloured shapes that comes with the pack, for {SIZE}x{SIZE} pictures. Works "
            "with ComfyUI's own nodes, trains a LoRA in minutes without a graphics card. Nothing is downloaded.",
            search_aliases=["demo checkpoint", "example model", "toy model", "small model", "no checkpoint"],
            inputs=[],
            outputs=[
                io.Model.Output("model", display_name="model", tooltip=f"Draws shapes, at {SIZE}x{SIZE} pixels best."),
                io.Clip.Output("clip", display_name="clip", tooltip="Knows the words of its shapes and colours."),
                io.Vae.Output("vae", display_name="vae", tooltip="Loses nothing: blocks of pixels in another order."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        # Here, not above: should ComfyUI's classes have changed, the other nodes still load.
        with fitting_comfyui("demo model"):
            from ..host.demo_model import load_demo_model
        return io.NodeOutput(*load_demo_model())


class GlitchDemoDataset(io.ComfyNode):
    """Draws a dataset in a style that the demo model does not know."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        triggers = ", ".join(f"{style.name} ({style.trigger})" for style in STYLES.values())
        return io.Schema(
            node_id="GlitchDemoDataset",
            display_name="Demo Dataset",
            category=CATEGORY,
            description="Draws captioned pictures in a style the demo model does not know, with the trigger word in "
            "place, ready to train on; or plain ones, to be damaged.",
            search_aliases=["example dataset", "sample pictures", "toy dataset", "drawn dataset"],
            inputs=[
                io.Combo.Input(
                    "style",
                    options=list(DATASETS),
                    tooltip=f"The style, and in brackets its trigger word: {triggers}. {PLAIN}: no style and no word.",
                ),
                io.Int.Input("pictures", default=24, min=1, max=200, tooltip="How many pictures are drawn."),
                seed_input("Another seed draws other pictures of the style."),
            ],
            outputs=[
                DatasetSocket.Output("dataset", display_name="dataset", tooltip="The pictures, trigger word in place."),
                io.String.Output("report", display_name="report", tooltip="What was drawn and where it is kept."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, style: str | None = None, pictures: int | None = None, seed: int | None = None) -> str:
        """Change when the files of an earlier answer were changed or removed: ComfyUI may still hold that answer.

        An input that comes over a wire is None here: then every answer that it may have given is looked at.
        """
        asked = (style, pictures, seed)
        for choice in [each for each in _ANSWERS if _may_be(asked, each)]:
            if not all(item.is_on_disk() for item in _ANSWERS[choice].items):
                del _ANSWERS[choice]
                _LOST[choice] += 1
        return str(sum(count for choice, count in _LOST.items() if _may_be(asked, choice)))

    @classmethod
    def execute(cls, style: str, pictures: int, seed: int) -> io.NodeOutput:
        drawn = draw_dataset(style, pictures, seed)
        captions = [picture.caption for picture in drawn]
        dataset = kept_dataset(demo_datasets_folder(), style, [picture.pixels for picture in drawn], captions)
        if style != PLAIN:
            dataset = dataset.with_step(_trigger(STYLES[style].trigger, captions))
        _ANSWERS[style, pictures, seed] = dataset
        return io.NodeOutput(dataset, f"{describe_dataset(dataset)}\nKept in {dataset.items[0].path.parent}")


def _may_be(asked: tuple[Any, ...], choice: tuple[Any, ...]) -> bool:
    return all(mine is None or mine == theirs for mine, theirs in zip(asked, choice, strict=True))


_ANSWERS: dict[tuple[Any, ...], Dataset] = {}
_LOST: Counter[tuple[Any, ...]] = Counter()


def _trigger(word: str, captions: Sequence[str]) -> TriggerWord:
    # A concept's word is part of its captions: it stays where it is, and is not put in front a second time.
    if any(word in caption for caption in captions):
        return TriggerWord(word, "replace placeholder", placeholder=word)
    return TriggerWord(word)


NODES: list[type[io.ComfyNode]] = [GlitchLoadDemoModel, GlitchDemoDataset]
