"""Nodes of the menu folder Glitch LoRA/sampling."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comfy_api.latest import io, ui

from ..host.folders import RUNS_FOLDER, output_folder
from ..host.images import from_tensor, to_tensor
from ..host.metadata import metadata_wanted, png_chunks
from ..host.progress import Progress, check_interrupt
from ..host.rendering import sampler_names, scheduler_names
from ..sampling.cells import to_picture
from ..sampling.grid import PAGE_SIDE, Table, draw_pages, list_table, sweep_tables
from ..sampling.lora_renderer import sweep_checkpoints
from ..sampling.pages import save_pages, stem_for
from ..sampling.plan import AXES, Cell, SweepPlan
from ..sampling.request import NEGATIVE_CHOICES, SweepTexts, plan_from_texts
from ..sampling.sweep import Sweep, cell_picture
from .sockets import RunSocket, SweepSocket

OWN = "empty: as the run's samples"


class GlitchSweep(io.ComfyNode):
    """Renders checkpoints against prompts and sampling settings; only what is missing."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return io.Schema(
            node_id="GlitchSweep",
            display_name="Sweep Checkpoints",
            category="Glitch LoRA/sampling",
            description=(
                "Render a run's checkpoints against strengths, prompts, seeds and sampling settings, always beside the "
                "base without LoRA. Each picture is saved at once and equals what Load LoRA, KSampler and VAE Decode "
                "give; queue again and only what is missing is rendered. Connect Sweep Grid to see it."
            ),
            search_aliases=["xy plot", "xyz plot", "grid search", "compare checkpoints", "lora strength", "epochs"],
            inputs=[
                RunSocket.Input("run", tooltip="The training run whose checkpoints are compared."),
                io.Model.Input("model", tooltip="The model the run was trained on, or another of its family."),
                io.Clip.Input("clip", tooltip="The text encoder; the run's clip skip is applied to it."),
                io.Vae.Input("vae", tooltip="Decodes the pictures."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default="",
                    placeholder="one prompt a line; empty: the run's sample prompts, or its trigger word",
                    tooltip="One prompt a line, prompt syntax as in CLIP Text Encode. Empty: the run's sample "
                    "prompts, or else its trigger word.",
                ),
                io.String.Input(
                    "checkpoints",
                    default="all",
                    tooltip="all, every 2 (each second, counted from the last), or steps such as 100, 200, last. "
                    "The base without LoRA always comes along.",
                ),
                io.String.Input("strengths", default="1.0", tooltip="LoRA strengths, such as 0.5, 1, 1.5."),
                io.String.Input(
                    "seeds",
                    default="",
                    placeholder=OWN,
                    tooltip=f"Noise seeds, such as 0, 7, 10-14. {OWN.capitalize()}.",
                ),
                io.String.Input(
                    "sizes",
                    default="",
                    placeholder=OWN,
                    tooltip=f"Picture sizes in pixels, such as 512x512, 768x512; steps of 8. {OWN.capitalize()}.",
                ),
                io.String.Input(
                    "steps",
                    default="",
                    placeholder=OWN,
                    tooltip=f"Sampler steps, such as 5, 20. {OWN.capitalize()}.",
                ),
                io.String.Input(
                    "cfg", default="", placeholder=OWN, tooltip=f"CFG scales, such as 1, 7, 30. {OWN.capitalize()}."
                ),
                io.Combo.Input("rows", options=list(AXES), default="prompt", tooltip="What the grid's rows show."),
                io.Combo.Input(
                    "columns",
                    options=list(AXES),
                    default="checkpoint",
                    tooltip="What the grid's columns show. Other lists with more than one value become pages.",
                ),
                io.String.Input(
                    "negative",
                    multiline=True,
                    default="",
                    advanced=True,
                    placeholder="negative prompt; empty: the run's own",
                    tooltip="Negative prompt. Empty: the one of the run's samples.",
                ),
                io.Combo.Input(
                    "negative_use",
                    options=list(NEGATIVE_CHOICES),
                    default="with",
                    advanced=True,
                    tooltip="Render with the negative prompt, without it, or both to compare.",
                ),
                io.String.Input(
                    "samplers",
                    default="",
                    placeholder=OWN,
                    advanced=True,
                    tooltip=f"KSampler's samplers, such as euler, dpmpp_2m. {OWN.capitalize()}.",
                ),
                io.String.Input(
                    "schedulers",
                    default="",
                    placeholder=OWN,
                    advanced=True,
                    tooltip=f"KSampler's schedulers, such as normal, karras. {OWN.capitalize()}.",
                ),
                io.Int.Input(
                    "max_pictures",
                    default=400,
                    min=1,
                    max=100_000,
                    advanced=True,
                    tooltip="A sweep of more pictures is refused before it starts, because it may be a typing slip.",
                ),
            ],
            outputs=[
                SweepSocket.Output("sweep", display_name="sweep", tooltip="For Sweep Grid."),
                io.Image.Output(
                    "images",
                    display_name="images",
                    is_output_list=True,
                    tooltip="The pictures in reading order of the grid: page by page, row by row.",
                ),
                io.String.Output(
                    "labels",
                    display_name="labels",
                    is_output_list=True,
                    tooltip="What each picture is, in the same order.",
                ),
                io.String.Output("report", display_name="report", tooltip="Counts, time and where the files are."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def execute(cls, run: Any, model: Any, clip: Any, vae: Any, max_pictures: int, **texts: Any) -> io.NodeOutput:
        """Render what is missing; returns the sweep, its pictures, their labels and a report."""
        plan = plan_from_texts(SweepTexts(**texts), run, sampler_names(), scheduler_names(), max_pictures)
        progress = Progress(plan.count, cls.hidden.unique_id)
        chunks = png_chunks(cls.hidden.prompt, cls.hidden.extra_pnginfo)
        sweep, report = sweep_checkpoints(
            run, plan, model, clip, vae, progress, check_interrupt, chunks, metadata_wanted()
        )
        shown = [cell for page in plan.layout() for row in page.cells for cell in row]
        labels = [plan.cell_label(cell) for cell in shown]
        return io.NodeOutput(sweep, _images(sweep, plan, shown), labels, report)


class GlitchGrid(io.ComfyNode):
    """Draws a sweep, or any list of images, as labelled pages."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return io.Schema(
            node_id="GlitchGrid",
            display_name="Sweep Grid",
            category="Glitch LoRA/sampling",
            description=(
                "Draw a sweep as a table labelled on both axes, in pages when it is large, and save it as PNG. "
                "Takes a list of images and labels instead of a sweep, so that your own graph, run once per "
                "checkpoint, ends in one grid."
            ),
            search_aliases=["contact sheet", "image grid", "xy plot", "labels", "collage"],
            is_output_node=True,
            is_input_list=True,
            inputs=[
                SweepSocket.Input("sweep", optional=True, tooltip="A sweep; leave images unconnected then."),
                io.Image.Input(
                    "images", optional=True, tooltip="Images to lay out instead of a sweep, in reading order."
                ),
                io.String.Input(
                    "labels",
                    optional=True,
                    force_input=True,
                    tooltip="Labels of the images: one per column, or one per image (drawn under it).",
                ),
                io.String.Input(
                    "row_labels", optional=True, force_input=True, tooltip="Labels of the rows of images, one per row."
                ),
                io.Int.Input(
                    "columns",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Images in a row; 0 chooses. A sweep has its own columns.",
                ),
                io.String.Input("title", default="", tooltip="Title over the images. A sweep has its own."),
                io.Int.Input(
                    "page_side",
                    default=PAGE_SIDE,
                    min=512,
                    max=16384,
                    step=64,
                    advanced=True,
                    tooltip="Longest side of a page in pixels. Text grows with it, so that a page can be scaled.",
                ),
            ],
            outputs=[
                io.Image.Output("pages", display_name="pages", is_output_list=True, tooltip="The pages of the grid."),
            ],
        )

    @classmethod
    def execute(
        cls,
        columns: list[int],
        title: list[str],
        page_side: list[int],
        sweep: list[Any] | None = None,
        images: list[Any] | None = None,
        labels: list[str] | None = None,
        row_labels: list[str] | None = None,
    ) -> io.NodeOutput:
        """Draw and save the pages; returns them and shows them on the node."""
        if bool(sweep) == bool(images):
            raise ValueError("grid: got both or none of sweep and images, allowed one of the two, connect just one")
        chunks = png_chunks(cls.hidden.prompt, cls.hidden.extra_pnginfo)
        if sweep:
            pages, paths = _sweep_pages(sweep, page_side[0], chunks)
        else:
            pictures = [to_picture(pixels) for batch in images or () for pixels in from_tensor(batch)]
            table = list_table(pictures, labels or (), columns[0], title[0], row_labels or ())
            pages, paths = _list_pages(table, page_side[0], chunks)
        return io.NodeOutput([to_tensor(page) for page in pages], ui=ui.SavedImages([_shown(path) for path in paths]))


def _images(sweep: Sweep, plan: SweepPlan, shown: Sequence[Cell]) -> list[Any]:
    """Return IMAGEs of `shown`; a picture that is shown twice is kept once."""
    files = sweep.cells()
    images = {}
    for cell in plan.cells():
        picture = cell_picture(files[cell])
        if picture is None:
            raise ValueError(f"sweep: got a damaged picture {files[cell].name} just after saving it, queue again")
        images[cell] = to_tensor(picture)
    return [images[cell] for cell in shown]


def _sweep_pages(sweeps: Sequence[Sweep], page_side: int, chunks: Mapping[str, str]) -> tuple[list[Any], list[Path]]:
    pages: list[Any] = []
    paths: list[Path] = []
    for sweep in sweeps:
        drawn = draw_pages(sweep_tables(sweep), page_side, check_interrupt)
        inside = sweep.folder.resolve().is_relative_to(output_folder().resolve())
        folder, stem = (sweep.folder, "grid") if inside else (_grids_folder(), stem_for(drawn, sweep.run_folder.name))
        paths += save_pages(drawn, folder, stem, chunks)
        pages += drawn
    return pages, paths


def _list_pages(table: Table, page_side: int, chunks: Mapping[str, str]) -> tuple[list[Any], list[Path]]:
    pages = draw_pages([table], page_side, check_interrupt)
    return pages, save_pages(pages, _grids_folder(), stem_for(pages, table.title), chunks)


def _grids_folder() -> Path:
    return output_folder() / RUNS_FOLDER / "grids"


def _shown(path: Path) -> ui.SavedResult:
    subfolder = path.resolve().parent.relative_to(output_folder().resolve()).as_posix()
    return ui.SavedResult(path.name, subfolder, io.FolderType.output)


NODES: list[type[io.ComfyNode]] = [GlitchSweep, GlitchGrid]
