"""Nodes of the menu folder Glitch LoRA/dataset that choose, mix, judge and save pictures."""

from typing import Any

import numpy as np
from comfy_api.latest import io, ui
from PIL import Image

from ..dataset.audit import Copies, Drop, audit
from ..dataset.audit_finding import CAPTION_KINDS, PICTURE_KINDS
from ..dataset.audit_report import audit_report, audit_sheets, audit_table
from ..dataset.export import Saved, save_dataset
from ..dataset.folder import load_folder
from ..dataset.known_trigger import knowing_triggers
from ..dataset.merge import mixed
from ..dataset.report import counted, describe_dataset
from ..dataset.selection import MAX_REPEATS, Selection, parted
from ..host.folders import SAVE_ROOTS, saved_dataset_places
from ..host.images import to_batch
from ..metrics.registry import measure
from .dataset import CATEGORY, watch_progress
from .inputs import combo, pixels, seed_input
from .sockets import DatasetSocket

_ANY, _FLAGGED = "any", "with a defect or warning"
_TABLES = ("CSV", "Markdown")


class GlitchSelectItems(io.ComfyNode):
    """Takes some of a dataset's pictures, and the rest."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchSelectItems",
            display_name="Select Items",
            category=CATEGORY,
            description="Chooses pictures by number, caption, size, what the audit found, or chance. Damage only some, "
            "drop others, or repeat a few so often that they are learned by heart.",
            search_aliases=["filter dataset", "subset", "split dataset", "pick images", "curate", "repeat images"],
            inputs=[
                DatasetSocket.Input("dataset", tooltip="The dataset to choose from."),
                io.String.Input(
                    "numbers",
                    default="",
                    placeholder="1-29, 40, 52",
                    tooltip="Numbers and ranges, as on the contact sheet. Empty: all.",
                ),
                io.String.Input(
                    "contains",
                    default="",
                    tooltip="Words or phrases, separated by commas, that the caption must all have, in any case.",
                ),
                io.String.Input(
                    "lacks", default="", tooltip="Words or phrases, separated by commas, of which it may have none."
                ),
                pixels("min_side", 0, "The shorter side is at least this.", 0, 16384, advanced=True),
                pixels("max_side", 0, "The longer side is at most this; 0 sets no limit.", 0, 16384, advanced=True),
                combo(
                    "finding",
                    [_ANY, _FLAGGED, *PICTURE_KINDS, *CAPTION_KINDS],
                    "Only pictures of which an audit finds this; the output rest then has those without it.",
                ),
                io.Int.Input(
                    "count", default=0, min=0, max=100_000, tooltip="So many of those, drawn by the seed; 0 takes all."
                ),
                seed_input("Of the draw; it depends on the pictures' contents, not on their names."),
                io.Boolean.Input("invert", default=False, tooltip="Swap selected and rest."),
                io.Int.Input(
                    "repeats",
                    default=1,
                    min=1,
                    max=MAX_REPEATS,
                    tooltip="How much more often the selected pictures count in one pass.",
                ),
            ],
            outputs=[
                DatasetSocket.Output("selected", display_name="selected", tooltip="The chosen pictures."),
                DatasetSocket.Output("rest", display_name="rest", tooltip="All others."),
                io.String.Output("report", display_name="report", tooltip="What was chosen."),
            ],
        )

    @classmethod
    def execute(cls, dataset: Any, finding: str, repeats: int, **tests: Any) -> io.NodeOutput:
        among = None
        if finding != _ANY:
            found = audit(dataset, watch=watch_progress())
            among = found.flagged(None if finding == _FLAGGED else [finding])
        indices = Selection(**tests).indices(dataset, among)
        selected, rest = parted(dataset, indices, repeats)
        report = f"Selected {len(selected)} of {counted(len(dataset), 'picture')}."
        if not indices:
            report += " No picture passes every test that is set: select others, or go on with the output rest."
        return io.NodeOutput(selected, rest, f"{report}\n{describe_dataset(selected)}")


class GlitchMergeDatasets(io.ComfyNode):
    """Makes one dataset of several."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        others = io.Autogrow.TemplatePrefix(
            DatasetSocket.Input("other", optional=True, tooltip="A dataset that is added, after its own chain."),
            prefix="other",
            min=1,
            max=8,
        )
        return io.Schema(
            node_id="GlitchMergeDatasets",
            display_name="Merge Datasets",
            category=CATEGORY,
            description="Makes one dataset of several, each with its own chain of steps: damaged and clean pictures, "
            "or a style and pictures that keep the model from forgetting.",
            search_aliases=["combine datasets", "mix", "regularisation images", "concatenate", "clean and damaged"],
            inputs=[
                DatasetSocket.Input("dataset", tooltip="The first dataset; all its pictures are taken."),
                io.Autogrow.Input("others", template=others, optional=True, tooltip="The datasets that are added."),
                io.Float.Input(
                    "share",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.001,
                    tooltip="How many pictures of each other dataset come to one of the first, drawn by the seed: "
                    "0.1 one to ten, 5 five to one. 0 takes all.",
                ),
                io.Int.Input(
                    "repeats",
                    default=1,
                    min=1,
                    max=MAX_REPEATS,
                    tooltip="How much more often the pictures of the other datasets count in one pass.",
                ),
                seed_input("Decides which pictures a share takes."),
            ],
            outputs=[
                DatasetSocket.Output("dataset", display_name="dataset", tooltip="All of them, in order."),
                io.String.Output("report", display_name="report", tooltip="What is in it."),
            ],
        )

    @classmethod
    def execute(
        cls, dataset: Any, share: float, repeats: int, seed: int, others: dict[str, Any] | None = None
    ) -> io.NodeOutput:
        connected = [other for other in (others or {}).values() if other is not None]
        whole = mixed([dataset, *connected], share, repeats, seed)
        return io.NodeOutput(whole, describe_dataset(whole))


class GlitchSaveDataset(io.ComfyNode):
    """Writes a dataset into a folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchSaveDataset",
            display_name="Save Dataset",
            category=CATEGORY,
            description="Writes the pictures after the chain of steps as PNG, with captions as text files and a "
            "manifest of what was done to each. Other trainers read the folder too. Never overwrites another.",
            search_aliases=["export dataset", "write dataset", "kohya folder", "captions to files", "manifest"],
            is_output_node=True,
            inputs=[
                DatasetSocket.Input("dataset", tooltip="The dataset to save."),
                io.String.Input(
                    "name", default="glitched", tooltip="The folder's name; one that is taken gets a counter."
                ),
                combo("place", SAVE_ROOTS, "Below ComfyUI's output folder, or its datasets folder."),
                io.Int.Input(
                    "variants",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="Pictures of each item, where crops, flips or damage are drawn anew for each.",
                ),
                io.Boolean.Input(
                    "measures",
                    default=False,
                    tooltip="Write every measure of each picture, before and after, into the manifest. Takes a while.",
                    advanced=True,
                ),
            ],
            outputs=[
                io.String.Output("folder", display_name="folder", tooltip="The name as Load Dataset lists it."),
                DatasetSocket.Output("dataset", display_name="dataset", tooltip="The saved folder as a dataset."),
                io.String.Output("report", display_name="report", tooltip="What was written, and where."),
            ],
        )

    @classmethod
    def execute(cls, dataset: Any, name: str, place: str, variants: int, measures: bool) -> io.NodeOutput:
        measured = _measured if measures else None
        saved = save_dataset(dataset, saved_dataset_places(place, name), variants, measured, watch_progress())
        again = knowing_triggers(load_folder(saved.folder), dataset)
        folder = f"{place}/{saved.folder.name}"
        return io.NodeOutput(folder, again, "\n".join([*_told(saved, folder, name), describe_dataset(again)]))


def _told(saved: Saved, folder: str, name: str) -> list[str]:
    """Return what was written, where, and what is not as it was typed or connected."""
    written = f"Saved {counted(saved.files, 'picture')} as {folder}."
    lines = [written if saved.new else f"{folder} holds exactly this already."]
    if name.strip() and name != saved.folder.name:
        reason = "some letters are not allowed in a folder's name, or the name was taken"
        lines.append(f"The folder is called {saved.folder.name!r} instead of {name!r}: {reason}.")
    if saved.waiting:
        damage = ", ".join(f"{step} ({counted(count, 'picture')})" for step, count in saved.waiting)
        lines.append(
            f"Not in the files: {damage}. Such damage happens when a picture is encoded for training, so saved "
            "pictures are without it and saved captions do not name it."
        )
    return [*lines, str(saved.folder)]


def _measured(image: Image.Image) -> dict[str, float]:
    return measure(np.asarray(image))


class GlitchAuditDataset(io.ComfyNode):
    """Looks for what is wrong with a dataset."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchAuditDataset",
            display_name="Audit Dataset",
            category=CATEGORY,
            description="Finds pictures that are broken, small, compressed, blurred, badly exposed, or there twice, "
            "captions that say too little, and backgrounds that differ; gives the dataset without them. Runs alone.",
            search_aliases=["check dataset", "find duplicates", "dedupe", "quality check", "caption check", "palette"],
            is_output_node=True,
            inputs=[
                DatasetSocket.Input("dataset", tooltip="The dataset to look through."),
                io.String.Input(
                    "trigger", default="", tooltip="The word each caption should have; empty takes the dataset's own."
                ),
                combo("drop", Drop, "What the output dataset goes without: nothing, defects, or warnings too."),
                combo("duplicates", Copies, "Of pictures that are there twice the best one stays, with its caption."),
                io.Boolean.Input(
                    "append_colours",
                    default=False,
                    tooltip="Put the measured colours at the end of captions that name none.",
                ),
                pixels("smallest_side", 256, "A picture with a shorter side below this is tiny.", 8, advanced=True),
                io.Int.Input("columns", default=4, min=1, max=16, tooltip="Pictures side by side.", advanced=True),
                io.Int.Input(
                    "limit",
                    default=32,
                    min=0,
                    max=100_000,
                    tooltip="How many pictures the sheets show, the flagged ones first; 0 shows all.",
                    advanced=True,
                ),
                combo("table_format", _TABLES, "How the table is written.", advanced=True),
            ],
            outputs=[
                DatasetSocket.Output("dataset", display_name="dataset", tooltip="The dataset, repaired as asked."),
                io.Image.Output("sheets", display_name="sheets", tooltip="Contact sheets, flagged pictures first."),
                io.String.Output("report", display_name="report", tooltip="What was found, and what to do."),
                io.String.Output("table", display_name="table", tooltip="One row for each finding."),
            ],
        )

    @classmethod
    def execute(
        cls,
        dataset: Any,
        trigger: str,
        drop: Any,
        duplicates: Any,
        append_colours: bool,
        smallest_side: int,
        columns: int,
        limit: int,
        table_format: str,
    ) -> io.NodeOutput:
        found = audit(dataset.require_items(), trigger, smallest_side, watch_progress())
        pages = audit_sheets(found, columns, limit=limit) or [Image.new("RGB", (64, 64))]
        sheets = to_batch(pages)
        saved = ui.ImageSaveHelper.save_images(sheets, "glitch_lora_audit", io.FolderType.temp, cls, compress_level=1)
        repaired = found.repaired(drop, duplicates, append_colours)
        gone = len(dataset) - len(repaired)
        left = f"\nLeft out: {counted(gone, 'picture')}." if gone else ""
        table = audit_table(found, markdown=table_format == "Markdown")
        return io.NodeOutput(repaired, sheets, audit_report(found) + left, table, ui={"images": saved})


NODES: list[type[io.ComfyNode]] = [GlitchSelectItems, GlitchMergeDatasets, GlitchSaveDataset, GlitchAuditDataset]
