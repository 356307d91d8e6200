"""Nodes of the menu folder Glitch LoRA/dataset."""

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io, ui

from ..dataset.caption_files import CaptionSource
from ..dataset.captions import TriggerPosition, TriggerWord
from ..dataset.fits import BucketFit, FixedFit, NativeFit, PairFit, Reach
from ..dataset.folder import BrokenPolicy, FolderOptions, MissingPolicy, folder_state, load_folder, split_dataset
from ..dataset.framing import RESAMPLINGS, Crop, Flip, Frame
from ..dataset.from_images import dataset_from_images
from ..dataset.images import parse_colour, readable_extensions
from ..dataset.prompts import Choice, PromptSet, PromptSource, TriggerMode, one_per_line
from ..dataset.report import describe_dataset
from ..dataset.sheet import contact_sheets
from ..dataset.trigger_report import describe_trigger
from ..host.choices import require_choice
from ..host.folders import dataset_folder, list_dataset_folders, temporary_dataset_folder
from ..host.images import from_tensor, to_batch, to_tensor
from ..host.progress import Progress, check_interrupt
from ..host.tokens import cut_word
from .inputs import combo, pixels, seed_input
from .sockets import DatasetSocket

CATEGORY = "Glitch LoRA/dataset"


class GlitchLoadDataset(io.ComfyNode):
    """Reads a folder of pictures and captions."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchLoadDataset",
            display_name="Load Dataset",
            category=CATEGORY,
            description="Reads a folder of pictures, with captions from text files or metadata.jsonl. Drop pictures "
            "and caption files on the node to upload them as a new folder.",
            search_aliases=["load images", "training folder", "captions", "kohya", "imagefolder", "upload dataset"],
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=list_dataset_folders(readable_extensions()),
                    tooltip="A folder with pictures, under ComfyUI's input, output or datasets folder. "
                    "A folder called 10_name makes its pictures count ten times.",
                ),
                io.Boolean.Input("recursive", default=True, tooltip="Take pictures from subfolders too."),
                combo(
                    "captions",
                    CaptionSource,
                    "Where captions come from. auto: a .txt or .caption file beside the picture, else metadata.jsonl.",
                ),
                combo(
                    "missing_captions",
                    MissingPolicy,
                    "allow: a picture without a caption is trained on an empty one, and reported.",
                    advanced=True,
                ),
                combo(
                    "broken_images",
                    BrokenPolicy,
                    "What happens on a picture that is unreadable, cut off or smaller than 8 pixels.",
                    advanced=True,
                ),
                io.Color.Input(
                    "background",
                    default="#ffffff",
                    tooltip="The colour that transparent parts of a picture are laid over.",
                    advanced=True,
                ),
                io.Float.Input(
                    "hold_out",
                    default=0.0,
                    min=0.0,
                    max=0.5,
                    step=0.05,
                    tooltip="Part of the pictures that goes to the output held_out and is not trained on.",
                    advanced=True,
                ),
                seed_input("Chooses which pictures are held out.", advanced=True),
            ],
            outputs=[
                DatasetSocket.Output("dataset", display_name="dataset", tooltip="The pictures to train on."),
                DatasetSocket.Output("held_out", display_name="held_out", tooltip="The pictures held out, if any."),
                io.String.Output("report", display_name="report", tooltip="What was found and what was wrong."),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder: str | None) -> bool | str:
        """Name a folder that is not allowed before anything runs."""
        if folder is not None:
            try:
                dataset_folder(folder)
            except ValueError as error:
                return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, folder: str | None = None, recursive: bool = True, **settings: Any) -> str:
        """Change when a picture or a caption file does."""
        if folder is None or recursive is None:
            return ""
        return folder_state(dataset_folder(folder), recursive)

    @classmethod
    def execute(
        cls,
        folder: str,
        recursive: bool,
        captions: Any,
        missing_captions: Any,
        broken_images: Any,
        background: str,
        hold_out: float,
        seed: int,
    ) -> io.NodeOutput:
        options = FolderOptions(recursive, captions, broken_images, missing_captions, parse_colour(background))
        dataset = load_folder(dataset_folder(folder), options, watch_progress(), folder)
        kept, held = split_dataset(dataset, hold_out, seed)
        held_line = f"\nHeld out: {len(held)} pictures." if hold_out else ""
        return io.NodeOutput(kept, held, describe_dataset(kept) + held_line)


def watch_progress() -> Callable[[int, int], None]:
    """Return a callback (done, total) that moves the node's bar and sees Cancel."""
    bars: list[Progress] = []

    def watch(done: int, total: int) -> None:
        check_interrupt()
        if not bars:
            bars.append(Progress(total))
        bars[0].update(done)

    return watch


class GlitchDatasetFromImages(io.ComfyNode):
    """Turns ComfyUI's images and captions into a dataset."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchDatasetFromImages",
            display_name="Dataset From Images",
            category=CATEGORY,
            description="Makes a dataset of images and captions from other nodes, such as captioners.",
            search_aliases=["images to dataset", "list to dataset", "captioner"],
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="Images, batches or a list of them; sizes may differ in a list."),
                io.String.Input(
                    "captions",
                    optional=True,
                    force_input=True,
                    tooltip="One caption for each image, one for all, or none.",
                ),
            ],
            outputs=[
                DatasetSocket.Output("dataset", display_name="dataset", tooltip="The images as a dataset."),
                io.String.Output("report", display_name="report", tooltip="What is in the dataset."),
            ],
        )

    @classmethod
    def execute(cls, images: list[Any], captions: list[str] | None = None) -> io.NodeOutput:
        pictures = [picture for batch in images for picture in from_tensor(batch)]
        dataset = dataset_from_images(pictures, captions or [], temporary_dataset_folder())
        return io.NodeOutput(dataset, describe_dataset(dataset))


class GlitchDatasetToImages(io.ComfyNode):
    """Turns a dataset into ComfyUI's images and captions."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchDatasetToImages",
            display_name="Dataset To Images",
            category=CATEGORY,
            description="Gives the pictures of a dataset, after its chain of steps, as a list of images with captions.",
            search_aliases=["dataset to list", "export images"],
            inputs=[
                DatasetSocket.Input("dataset", tooltip="The dataset to look into."),
                io.Int.Input(
                    "variant",
                    default=0,
                    min=0,
                    max=255,
                    tooltip="Which variant of random crops, flips and new damage; 0 is the first that training sees.",
                    advanced=True,
                ),
            ],
            outputs=[
                io.Image.Output("images", display_name="images", is_output_list=True, tooltip="One image each."),
                io.String.Output("captions", display_name="captions", is_output_list=True, tooltip="One caption each."),
                io.String.Output("names", display_name="names", is_output_list=True, tooltip="One file name each."),
            ],
        )

    @classmethod
    def execute(cls, dataset: Any, variant: int) -> io.NodeOutput:
        watch, samples = watch_progress(), []
        for index in range(len(dataset.require_items())):
            samples.append(dataset.sample(index, variant))
            watch(index + 1, len(dataset))
        return io.NodeOutput(
            [to_tensor(sample.image) for sample in samples],
            [sample.caption for sample in samples],
            [item.name for item in dataset.items],
        )


class GlitchTriggerWord(io.ComfyNode):
    """Puts the trigger word into every caption."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchTriggerWord",
            display_name="Trigger Word",
            category=CATEGORY,
            description="Puts a trigger word into every caption, so that it later calls what the LoRA has learned.",
            search_aliases=["trigger", "activation word", "instance token", "keyword", "caption prefix"],
            inputs=[
                DatasetSocket.Input("dataset", tooltip="The dataset whose captions get the word."),
                io.String.Input(
                    "trigger",
                    default="glitchwork",
                    tooltip="A word the model does not know yet works best; connect a CLIP to see.",
                ),
                combo(
                    "position",
                    TriggerPosition,
                    "In front, at the end, or in place of the placeholder (in front where a caption has none).",
                ),
                io.String.Input("separator", default=", ", tooltip="Stands between word and caption.", advanced=True),
                io.String.Input(
                    "placeholder",
                    default="[trigger]",
                    tooltip="The text in captions that the word replaces.",
                    advanced=True,
                ),
                io.Clip.Input("clip", optional=True, tooltip="Tells in the report how the word is cut into tokens."),
            ],
            outputs=[
                DatasetSocket.Output("dataset", display_name="dataset", tooltip="The dataset with the word in it."),
                io.String.Output("report", display_name="report", tooltip="An example, the tokens, and warnings."),
            ],
        )

    @classmethod
    def execute(
        cls, dataset: Any, trigger: str, position: Any, separator: str, placeholder: str, clip: Any = None
    ) -> io.NodeOutput:
        step = TriggerWord(trigger.strip(), position, separator, placeholder)
        report = describe_trigger(dataset, step, cut_word(clip, step.word) if clip else ())
        return io.NodeOutput(dataset.with_step(step), report)


def _fit_options() -> list[io.DynamicCombo.Option]:
    return [
        io.DynamicCombo.Option(
            BucketFit.mode,
            [
                pixels("resolution", 512, "The buckets' area is at most this squared: 512 for SD1.5, 1024 for SDXL."),
                pixels("step", 64, "Bucket sides are multiples of this.", 8, 256, advanced=True),
                pixels("min_side", 256, "The shortest side a bucket may have.", advanced=True),
                pixels("max_side", 2048, "The longest side a bucket may have.", advanced=True),
                io.Boolean.Input(
                    "no_upscale",
                    default=False,
                    tooltip="Never enlarge: smaller pictures keep their size, cropped to multiples of step.",
                    advanced=True,
                ),
            ],
        ),
        io.DynamicCombo.Option(
            FixedFit.mode,
            [
                pixels("width", 512, "Width of every picture."),
                pixels("height", 512, "Height of every picture."),
                combo("fit", Reach, "Crop what is too much, stretch, or pad what is missing."),
                io.Color.Input("pad_colour", default="#000000", tooltip="Colour of the padding.", advanced=True),
            ],
        ),
        io.DynamicCombo.Option(
            NativeFit.mode,
            [
                combo("stride", ["64", "32", "16", "8"], "Each side is cropped down to a multiple of this."),
                pixels("max_side", 0, "Longer pictures are shrunk to this first; 0 sets no limit.", 0),
            ],
        ),
        io.DynamicCombo.Option(
            PairFit.mode,
            [
                pixels("short_side", 832, "The shorter side, e.g. 832 for SDXL."),
                pixels("long_side", 1216, "The longer side, e.g. 1216 for SDXL."),
            ],
        ),
    ]


def _fit(values: dict[str, Any]) -> Any:
    """Return the fit that the dynamic combo's values describe."""
    mode, rest = values["framing"], {name: value for name, value in values.items() if name != "framing"}
    if mode == BucketFit.mode:
        return BucketFit(**rest)
    if mode == FixedFit.mode:
        return FixedFit(rest["width"], rest["height"], rest["fit"])
    if mode == NativeFit.mode:
        return NativeFit(int(rest["stride"]), rest["max_side"])
    return PairFit(**rest)


class GlitchFrameDataset(io.ComfyNode):
    """Brings every picture to a size the model is trained on."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchFrameDataset",
            display_name="Frame Dataset",
            category=CATEGORY,
            description="Resizes, crops and flips the pictures: aspect-ratio buckets, one size, the native aspect "
            "ratio, or a portrait and landscape pair. A low max_resolution crushes large pictures.",
            search_aliases=["resize", "crop", "bucket", "aspect ratio", "resolution", "flip", "uncropped"],
            inputs=[
                DatasetSocket.Input("dataset", tooltip="The dataset to frame."),
                io.DynamicCombo.Input("framing", options=_fit_options(), tooltip="How the size is chosen."),
                combo("crop", Crop, "Which part stays; random gives training a few variants."),
                combo("horizontal_flip", Flip, "Mirror left and right: never, always, or half the time."),
                combo("vertical_flip", Flip, "Turn upside down by mirroring.", advanced=True),
                io.Int.Input(
                    "max_resolution",
                    default=0,
                    min=0,
                    max=4096,
                    step=64,
                    tooltip="Resolution crush: no picture is trained at more than this squared; 0 sets no limit.",
                ),
                combo(
                    "resampling",
                    RESAMPLINGS,
                    "The filter of the resize. nearest and box keep the damage of shrinking hard.",
                    default="lanczos",
                    advanced=True,
                ),
                seed_input("Of random crops and flips.", advanced=True),
            ],
            outputs=[
                DatasetSocket.Output("dataset", display_name="dataset", tooltip="The framed dataset."),
                io.String.Output("report", display_name="report", tooltip="How many pictures get which size."),
            ],
            hidden=[io.Hidden.prompt],
        )

    @classmethod
    def execute(
        cls,
        dataset: Any,
        crop: Any,
        horizontal_flip: Any,
        vertical_flip: Any,
        max_resolution: int,
        resampling: Any,
        seed: int,
        framing: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        modes = (BucketFit.mode, FixedFit.mode, NativeFit.mode, PairFit.mode)
        values = require_choice(framing, "framing", modes, cls.hidden.prompt)
        pad = parse_colour(values.get("pad_colour", "#000000"))
        step = Frame(_fit(values), crop, horizontal_flip, vertical_flip, resampling, max_resolution, pad, seed)
        framed = dataset.with_step(step)
        return io.NodeOutput(framed, describe_dataset(framed))


class GlitchPreviewDataset(io.ComfyNode):
    """Shows a dataset as contact sheets."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchPreviewDataset",
            display_name="Preview Dataset",
            category=CATEGORY,
            description="Draws contact sheets of a dataset after its chain of steps: picture, size and caption. Runs "
            "alone, without starting a training.",
            search_aliases=["contact sheet", "look at dataset", "thumbnails", "show captions"],
            is_output_node=True,
            inputs=[
                DatasetSocket.Input("dataset", tooltip="The dataset to look at."),
                io.Int.Input("columns", default=4, min=1, max=16, tooltip="Pictures side by side."),
                pixels("cell", 256, "Largest side of a picture on the sheet.", 64, 1024, 32, advanced=True),
                io.Int.Input("limit", default=32, min=0, max=100_000, tooltip="How many pictures; 0 shows all."),
            ],
            outputs=[
                io.Image.Output("sheets", display_name="sheets", tooltip="The contact sheets, one an image."),
                io.String.Output("report", display_name="report", tooltip="Counts, sizes, captions, chain, warnings."),
            ],
        )

    @classmethod
    def execute(cls, dataset: Any, columns: int, cell: int, limit: int) -> io.NodeOutput:
        pages = contact_sheets(dataset.require_items(), columns, cell, limit=limit, watch=watch_progress())
        sheets = to_batch(pages)
        saved = ui.ImageSaveHelper.save_images(sheets, "glitch_lora_dataset", io.FolderType.temp, cls, compress_level=1)
        return io.NodeOutput(sheets, describe_dataset(dataset), ui={"images": saved})


class GlitchPromptSet(io.ComfyNode):
    """Gathers prompts for samples, sweeps and any other graph."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchPromptSet",
            display_name="Prompt Set",
            category=CATEGORY,
            description="Prompts from typed lines, a dataset's captions or both, with or without the trigger word, "
            "each in several variations. The lists run any graph once for each picture; the text feeds a sweep.",
            search_aliases=["prompts", "prompt list", "variations", "batch prompts", "captions as prompts"],
            inputs=[
                combo("source", PromptSource, "Typed lines, the dataset's captions, or both."),
                io.String.Input(
                    "text", default="", multiline=True, tooltip="One prompt a line, in ComfyUI's prompt syntax."
                ),
                combo("trigger", TriggerMode, "Leave prompts alone, add the trigger word, take it out, or both."),
                io.Int.Input("variations", default=1, min=1, max=1000, tooltip="Pictures of each prompt."),
                seed_input("Of the first variation; each further one counts up."),
                io.Int.Input("limit", default=0, min=0, max=100_000, tooltip="How many prompts to keep; 0 keeps all."),
                combo("choice", Choice, "Which prompts a limit keeps.", advanced=True),
                io.String.Input(
                    "trigger_word",
                    default="",
                    tooltip="The word to add or take out; empty takes the dataset's own.",
                    advanced=True,
                ),
                io.Boolean.Input(
                    "caption_syntax",
                    default=False,
                    tooltip="Read brackets in captions as prompt weights instead of letters.",
                    advanced=True,
                ),
                DatasetSocket.Input("dataset", optional=True, tooltip="Gives captions, and the trigger word."),
            ],
            outputs=[
                io.String.Output("prompts", display_name="prompts", is_output_list=True, tooltip="A prompt a picture."),
                io.String.Output("text", display_name="text", tooltip="Each prompt once, one a line, for a sweep."),
                io.Int.Output("seeds", display_name="seeds", is_output_list=True, tooltip="A seed a picture."),
                io.String.Output("names", display_name="names", is_output_list=True, tooltip="A file name a picture."),
            ],
        )

    @classmethod
    def execute(
        cls,
        source: Any,
        text: str,
        trigger: Any,
        variations: int,
        seed: int,
        limit: int,
        choice: Any,
        trigger_word: str,
        caption_syntax: bool,
        dataset: Any = None,
    ) -> io.NodeOutput:
        chosen = PromptSet(source, trigger, trigger_word, limit, choice, variations, seed, caption_syntax)
        found = chosen.prompts(text, dataset)
        texts, seeds, names = (list(column) for column in zip(*found, strict=True))
        return io.NodeOutput(texts, one_per_line(dict.fromkeys(texts)), seeds, names)


NODES: list[type[io.ComfyNode]] = [
    GlitchLoadDataset,
    GlitchDatasetFromImages,
    GlitchDatasetToImages,
    GlitchTriggerWord,
    GlitchFrameDataset,
    GlitchPreviewDataset,
    GlitchPromptSet,
]
