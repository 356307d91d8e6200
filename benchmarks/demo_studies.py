"""Ask of the demo model what training does to it: ``python3 benchmarks/demo_studies.py [ARM ...]``.

Each arm trains with the pack's own trainer on a drawn dataset and measures pictures of prompts that no caption of the
dataset has:

style-*       does a LoRA learn a style, does the content survive, and how much shows without the trigger word?
overtraining  does training on five pictures for long end in copies of them?
corruption    does a dataset rotted by JPEG give rotted pictures, against the same training on clean ones?

A finished arm is one line of DIR/rows.jsonl and one grid in DIR; it is not run again. Without names all arms run, in
about half an hour on two cores. ``--docs`` then copies the grids to docs/images and prints the tables of
docs/demo-studies.md.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "scripts"))

PICTURES = 24  # of a style's dataset
STYLE_STEPS, STYLE_EVERY = 400, 100
QUESTIONS = 40
OVER_STEPS, OVER_EVERY = 1200, 300
SHOWN = 4  # prompts in a grid
GROUNDS = ("white", "grey", "black")
TRAINED_ON = {
    "a photograph of a woman": "astronaut.png",
    "a photograph of a cat": "chelsea.png",
    "a photograph of a cup": "coffee.png",
    "a photograph of a launch": "rocket.jpg",
    "a photograph of a motorcycle": "motorcycle_left.png",
}
NOT_TRAINED_ON = {
    "a retina": "retina.jpg",
    "galaxies": "hubble_deep_field.jpg",
    "tissue": "ihc.png",
    "grass": "grass.png",
    "coins": "coins.png",
}
MOVED_BAR, CONTENT_BAR, SECONDS_BAR = 0.8, 0.8, 120  # of a style after its last step, on two cores
ROTTED_BAR = 3.0  # times the blockiness of the control
VERSION = 1  # of the arms: a row of another one is not used again


def main() -> int:
    """Return 0 when the bars of every arm asked for hold."""
    from rerun import again_in_environment, in_environment

    arguments = _arguments()
    if not in_environment():
        return again_in_environment(str(Path(__file__).resolve()), ("demo",))
    from demo_pictures import import_host

    import_host()
    studies = Studies(arguments.work)
    for name in arguments.arms or list(ARMS):
        studies.run(name, ARMS[name])
    if arguments.docs:
        studies.document()
    failed = [name for name in arguments.arms or list(ARMS) if not _holds(name, studies.row(name))]
    print(f"bars do not hold: {', '.join(failed)}" if failed else "all bars hold")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    from environment import cache_folder

    parser = argparse.ArgumentParser(description="Measure what training does to the demo model.")
    parser.add_argument("arms", nargs="*", metavar="ARM", help=f"some of {', '.join(ARMS)} (default: all)")
    parser.add_argument("--work", type=Path, default=cache_folder() / "demo-studies", help="where rows and grids go")
    parser.add_argument("--docs", action="store_true", help="copy the grids to docs/images and print the tables")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.arms if name not in ARMS]
    if unknown:
        parser.error(f"ARM: got {unknown}, allowed {list(ARMS)}")
    return arguments


@dataclass(frozen=True)
class Trained:
    """A finished training: its LoRA at each checkpoint (step -> tensors) and what it took."""

    checkpoints: dict[int, dict[str, Any]]
    seconds: float


class Studies:
    """Runs arms, one line and one grid each."""

    def __init__(self, work: Path) -> None:
        from glitch_lora.host.demo_model import load_demo_model

        self.work = work
        self.rows = work / "rows.jsonl"
        work.mkdir(parents=True, exist_ok=True)
        self.parts = load_demo_model()
        self.weights = _identity()

    def run(self, name: str, arm: Callable[["Studies"], dict[str, Any]]) -> None:
        """Run an arm unless its row is there, made with these weights; print the row."""
        row = self.row(name)
        if not row:
            started = time.perf_counter()
            row = {"arm": name, "weights": self.weights, **arm(self)}
            row["seconds"] = round(time.perf_counter() - started, 1)
            with self.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    def row(self, name: str) -> dict[str, Any]:
        """Return the newest row of an arm with these weights, empty when there is none."""
        lines = self.rows.read_text(encoding="utf-8").splitlines() if self.rows.exists() else []
        rows = [json.loads(line) for line in lines]
        found = [row for row in rows if row["arm"] == name and row["weights"] == self.weights]
        return found[-1] if found else {}

    def document(self) -> None:
        """Copy the finished arms' grids into the documentation and print their tables in Markdown."""
        from PIL import Image

        rows = {name: row for name in ARMS if (row := self.row(name))}
        for name in rows:
            with Image.open(self.work / f"demo-{name}.png") as grid:
                small = grid.convert("RGB")
                small.thumbnail((1400, 1400), Image.Resampling.LANCZOS)
                small.save(ROOT / "docs" / "images" / f"demo-{name}.jpg", quality=85, optimize=True)
        print("\n".join(_tables(rows)))

    def train(self, name: str, dataset: Any, **recipe: Any) -> Trained:
        """Train on a dataset with the pack's own trainer, from nothing, and return every checkpoint."""
        import shutil

        from glitch_lora.host.graph import ComfyGraph
        from glitch_lora.training.lora_file import load_safetensors
        from glitch_lora.training.recipe import Recipe
        from glitch_lora.training.session import Request, train

        root = self.work / "runs" / name
        shutil.rmtree(root, ignore_errors=True)  # so that the time is that of a whole training
        settings = {"target_modules": "all-linear+conv", "batch_size": 4, "learning_rate": 1e-3, "rank": 16}
        settings |= {"alpha": 16.0, "gradient_checkpointing": False, "save_dtype": "fp32", "caption_dropout": 0.1}
        request = Request(name, root / "runs", root / "loras", root / "cache")
        started = time.perf_counter()
        outcome = train(ComfyGraph(*self.parts), dataset, Recipe(**(settings | recipe)), request, _Silent())
        seconds = time.perf_counter() - started
        steps = [checkpoint.step for checkpoint in outcome.run.checkpoints()]
        return Trained({step: load_safetensors(outcome.run.checkpoint(step).path)[0] for step in steps}, seconds)

    def with_lora(self, tensors: dict[str, Any] | None) -> tuple[Any, Any, Any]:
        """Return the parts with a LoRA on them, put there by ComfyUI's loader."""
        from glitch_lora.host.lora_keys import apply_lora

        model, clip, vae = self.parts
        if tensors is None:
            return model, clip, vae
        return (*apply_lora(model, clip, tensors, 1.0, 1.0), vae)

    def dataset(self, name: str, drawn: Sequence[Any]) -> Any:
        """Return drawn pictures (with pixels and caption) as a dataset on disk."""
        from glitch_lora.dataset.kept_folder import kept_dataset

        pixels, captions = [one.pixels for one in drawn], [one.caption for one in drawn]
        return kept_dataset(self.work / "datasets", name, pixels, captions)

    def grid(self, name: str, title: str, columns: Sequence[str], rows: Sequence[str], cells: Sequence[Any]) -> None:
        """Write a labelled grid: cells in reading order."""
        from glitch_lora.sampling.grid import draw_pages, list_table
        from PIL import Image

        pictures = [Image.fromarray(cell) for cell in cells]
        table = list_table(pictures, columns, len(columns), title, rows)
        draw_pages([table])[0].save(self.work / f"demo-{name}.png")


class _Silent:
    """The events of a training, told to nobody."""

    def check(self) -> None: ...
    def status(self, line: str) -> None: ...
    def step(self, step: int, total: int, line: str) -> None: ...
    def preview(self, step: int, image: Any) -> None: ...


def _identity() -> str:
    from glitch_lora.host.demo_model import WEIGHTS

    return f"{hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:12]} v{VERSION}"


def _style(style: str) -> Callable[[Studies], dict[str, Any]]:
    def arm(studies: Studies) -> dict[str, Any]:
        return _style_arm(studies, style)

    return arm


def _style_arm(studies: Studies, style: str) -> dict[str, Any]:
    """Train on a style; measure it and the content at every checkpoint, with and without the trigger word."""
    from glitch_lora.dataset.captions import TriggerWord
    from glitch_lora.demo.datasets import draw_dataset
    from glitch_lora.demo.styles import STYLES

    trigger = STYLES[style].trigger
    drawn = [one for one in draw_dataset(style, 2 * PICTURES) if not _kept_back(style, one.caption)][:PICTURES]
    dataset = studies.dataset(style, drawn)
    if style != "heart":
        dataset = dataset.with_step(TriggerWord(trigger))
    trained = studies.train(style, dataset, steps=STYLE_STEPS, checkpoint_every=STYLE_EVERY)
    questions = _style_questions(style)
    plain = [question.prompt for question in questions]
    asked = [question.styled for question in questions]
    seeds = [question.seed for question in questions]
    goal = _mean(STYLES[style].measure, [one.pixels for one in drawn])
    rows: list[dict[str, Any]] = []
    shown = []
    for step in (0, *trained.checkpoints):
        parts = studies.with_lora(trained.checkpoints.get(step))
        with_word, without = _pictures(parts, asked, seeds), _pictures(parts, plain, seeds)
        row = {"step": step, "measure": _mean(STYLES[style].measure, with_word)}
        row["without word"] = _mean(STYLES[style].measure, without)
        base = rows[0] if rows else row
        row["moved"] = _way(base["measure"], row["measure"], goal)
        row["leaked"] = _way(base["without word"], row["without word"], goal)
        rows.append(row | _content(style, questions, with_word))
        shown.append((step, with_word))
    columns = ["base", *(f"step {step}" for step, _ in shown[1:])]
    cells = [pictures[index] for index in range(SHOWN) for _, pictures in shown]
    labels = [question.styled for question in questions[:SHOWN]]
    studies.grid(f"style-{style}", f"{STYLES[style].title} · trigger: {trigger}", columns, labels, cells)
    prompts = len(set(asked))
    about = {"dataset": goal, "train_seconds": round(trained.seconds, 1), "questions": len(questions)}
    return about | {"prompts": prompts, "steps": rows}


def _way(start: float, reached: float, goal: float) -> float:
    """Return how much of the way from `start` to `goal` is done; more than 1 is beyond the goal."""
    return (reached - start) / (goal - start)


def _kept_back(style: str, caption: str) -> bool:
    """Say whether a caption of the concept's dataset is kept for questions: each colour on one of three grounds."""
    from glitch_lora.demo.shapes import COLOURS

    kept = (f" {colour} heart on a {GROUNDS[index % 3]} " for index, colour in enumerate(COLOURS))
    return style == "heart" and any(words in f"{caption} " for words in kept)


@dataclass(frozen=True)
class StyleQuestion:
    """A prompt without and with the style's word, its seed, and what a right picture shows."""

    prompt: str
    styled: str
    seed: int
    colour: str
    shape: str


def _style_questions(style: str) -> list[StyleQuestion]:
    """Return prompts on the style's grounds that are no caption of its dataset, with as many seeds as it takes.

    They name the pairs that were held out of all training, so that neither model nor LoRA has seen what they ask for.
    The concept is asked for in colours on the grounds that `_kept_back` kept from its dataset.
    """
    from glitch_lora.demo.datasets import BACKGROUNDS
    from glitch_lora.demo.scenes import HELD_OUT_PAIRS, one_thing
    from glitch_lora.demo.styles import STYLES

    pairs = [(colour, shape, ground) for ground in BACKGROUNDS[style] for colour, shape in sorted(HELD_OUT_PAIRS)]
    asked = [(*pair, one_thing(pair[1], pair[0], pair[2]).caption) for pair in pairs]
    if style == "heart":
        hearts = [
            (colour, shape, ground, one_thing("heart", colour, ground).caption) for colour, shape, ground in pairs
        ]
        asked = [each for each in hearts if _kept_back(style, each[3])]
    questions = []
    for seed in range(QUESTIONS):
        colour, shape, ground, words = asked[seed % len(asked)]
        plain = one_thing(shape, colour, ground).caption
        styled, shape = (words, "heart") if style == "heart" else (f"{STYLES[style].trigger}, {plain}", shape)
        questions.append(StyleQuestion(plain, styled, 10_000 + seed, colour, shape))
    return questions


def _content(style: str, questions: Sequence[StyleQuestion], drawn: Sequence[Any]) -> dict[str, float]:
    """Return the shares of pictures with the right colour, the right shape, and both."""
    from glitch_lora.demo.judges import colour_seen, components, foreground, shape_seen
    from glitch_lora.demo.styles import coloured_part

    colours, shapes = [], []
    for question, picture in zip(questions, drawn, strict=True):
        cover = coloured_part(picture) if style == "collage" else foreground(picture)
        things = components(cover)
        colours.append(bool(things) and colour_seen(picture, things[0]) == question.colour)
        shapes.append(bool(things) and shape_seen(things[0], unseen=style == "heart") == question.shape)
    both = [colour and shape for colour, shape in zip(colours, shapes, strict=True)]
    return {"colour": _share(colours), "shape": _share(shapes), "both": _share(both)}


def _overtraining(studies: Studies) -> dict[str, Any]:
    """Train on five photographs for long; how far is a new picture from the nearest of them?"""
    import numpy as np
    from glitch_lora.dataset.captions import TriggerWord
    from glitch_lora.demo.datasets import DrawnPicture
    from glitch_lora.demo.measures import nearest, spacing

    photographs, others = _photographs(TRAINED_ON), list(_photographs(NOT_TRAINED_ON).values())
    drawn = [DrawnPicture(pixels, caption) for caption, pixels in photographs.items()]
    dataset = studies.dataset("photographs", drawn).with_step(TriggerWord("glitchwork"))
    trained = studies.train("overtraining", dataset, steps=OVER_STEPS, checkpoint_every=OVER_EVERY, rank=32)
    own = [f"glitchwork, {caption}" for caption in photographs]
    new = ["glitchwork, a red circle on a white background", "glitchwork, a blue star on a black background"]
    new += ["glitchwork, a green square on a grey background", "glitchwork", "glitchwork, two yellow rings on white"]
    seeds = list(range(20))
    pixels = list(photographs.values())
    rows, shown = [], []
    for step in (0, *trained.checkpoints):
        parts = studies.with_lora(trained.checkpoints.get(step))
        of_captions = _pictures(parts, [own[seed % len(own)] for seed in seeds], seeds)
        of_others = _pictures(parts, [new[seed % len(new)] for seed in seeds], seeds)
        row: dict[str, Any] = {"step": step}
        for name, group in (("captions", of_captions), ("others", of_others)):
            row[name] = float(np.mean([nearest(picture, pixels) for picture in group]))
            row[f"{name}, control"] = float(np.mean([nearest(picture, others) for picture in group]))
        rows.append(row)
        shown.append((step, [*of_captions[: len(own)], *of_others[:1]]))
    columns = ["base", *(f"step {step}" for step, _ in shown[1:]), "nearest in the dataset"]
    cells = []
    for index in range(len(own) + 1):
        column = [pictures[index] for _, pictures in shown]
        last = min(pixels, key=lambda each: nearest(column[-1], [each]))
        cells += [*column, last]
    studies.grid("overtraining", "Five photographs, trained for long", columns, [*own, new[0]], cells)
    return {"spacing": spacing(pixels), "train_seconds": round(trained.seconds, 1), "steps": rows}


def _photographs(names: dict[str, str]) -> dict[str, Any]:
    """Return photographs of scikit-image as 64x64 pixels, by caption. Raises OSError when one is missing."""
    import numpy as np
    import skimage
    from PIL import Image, ImageOps

    folder = Path(skimage.__file__).parent / "data"
    found = {}
    for caption, name in names.items():
        with Image.open(folder / name) as picture:
            found[caption] = np.asarray(ImageOps.fit(picture.convert("RGB"), (64, 64)))
    return found


def _corruption(studies: Studies) -> dict[str, Any]:
    """Train the same drawings clean and rotted by JPEG; how blocky are pictures of new prompts?"""
    from glitch_lora.dataset.captions import TriggerWord
    from glitch_lora.demo.datasets import DrawnPicture, dataset_scene
    from glitch_lora.demo.measures import blockiness
    from glitch_lora.demo.scenes import draw
    from glitch_lora.glitch.step import corruption

    scenes = [dataset_scene("vhs", index) for index in range(PICTURES)]
    flat = studies.dataset("flat", [DrawnPicture(draw(scene), scene.caption) for scene in scenes])
    flat = flat.with_step(TriggerWord("glitchwork"))
    rotted = flat.with_step(corruption("jpeg_recompression", {"quality": 8}))
    questions = _style_questions("vhs")
    prompts = [f"glitchwork, {question.prompt}" for question in questions]
    seeds = [question.seed for question in questions]
    row: dict[str, Any] = {"questions": len(questions)}
    drawn = {"base": _pictures(studies.parts, prompts, seeds)}
    for name, dataset in (("clean", flat), ("rotted", rotted)):
        row[f"dataset {name}"] = _mean(blockiness, [_pixels(dataset, index) for index in range(PICTURES)])
        trained = studies.train(f"corruption-{name}", dataset, steps=STYLE_STEPS, checkpoint_every=STYLE_STEPS)
        drawn[name] = _pictures(studies.with_lora(trained.checkpoints[STYLE_STEPS]), prompts, seeds)
        row[f"train_seconds {name}"] = round(trained.seconds, 1)
    row |= {name: _mean(blockiness, pictures) for name, pictures in drawn.items()}
    row |= {f"content {name}": _content("vhs", questions, pictures)["both"] for name, pictures in drawn.items()}
    row["moved"] = (row["rotted"] - row["clean"]) / (row["dataset rotted"] - row["dataset clean"])
    columns = ["base", "trained on clean pictures", "trained on rotted pictures", "a rotted picture of the dataset"]
    cells = []
    for index in range(SHOWN):
        cells += [pictures[index] for pictures in drawn.values()] + [_pixels(rotted, index)]
    studies.grid("corruption", "JPEG quality 8 in the dataset", columns, prompts[:SHOWN], cells)
    return row


def _pixels(dataset: Any, index: int) -> Any:
    import numpy as np

    return np.asarray(dataset.sample(index).image)


def _pictures(parts: tuple[Any, Any, Any], prompts: Sequence[str], seeds: Sequence[int]) -> list[Any]:
    from demo_pictures import pictures

    return pictures(parts, prompts, seeds)


def _mean(measure: Callable[[Any], float], pictures: Sequence[Any]) -> float:
    return sum(map(measure, pictures)) / len(pictures)


def _share(answers: Sequence[bool]) -> float:
    return sum(answers) / len(answers)


def _holds(name: str, row: dict[str, Any]) -> bool:
    """Say whether an arm shows what it asks for."""
    if name == "corruption":
        return row["rotted"] > ROTTED_BAR * max(row["clean"], row["base"])
    last = row["steps"][-1]
    if name == "overtraining":
        # A grey picture is near to everything: copies are near to what was trained on and not to other photographs.
        return last["captions"] < row["spacing"] < last["captions, control"]
    return last["moved"] >= MOVED_BAR and last["both"] >= CONTENT_BAR and row["train_seconds"] <= SECONDS_BAR


def _tables(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return the rows as Markdown: one table of styles, one of the overtraining, one of the corruption."""
    lines = [
        "| style | trained | moved | colour | shape | both | shows without the word |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if name.startswith("style-"):
            for step in row["steps"]:
                when = f"{step['step']} steps" if step["step"] else "base"
                if step is row["steps"][-1]:
                    when += f", {row['train_seconds']:.0f} s"
                shares = " | ".join(f"{step[key]:.0%}" for key in ("moved", "colour", "shape", "both", "leaked"))
                lines.append(f"| {name.removeprefix('style-')} | {when} | {shares} |")
    if "overtraining" in rows:
        names = ("captions", "captions, control", "others", "others, control")
        lines += ["", "| step | captions | control | other prompts | control |", "|---|---|---|---|---|"]
        for step in rows["overtraining"]["steps"]:
            lines.append(f"| {step['step']} | " + " | ".join(f"{step[name]:.1f}" for name in names) + " |")
        lines.append(f"| between the photographs | {rows['overtraining']['spacing']:.1f} | | | |")
    if "corruption" in rows:
        row = rows["corruption"]
        lines += ["", "| pictures | blockiness | content right |", "|---|---|---|"]
        lines += [f"| dataset, {name} | {row[f'dataset {name}']:.2f} | |" for name in ("clean", "rotted")]
        lines += [
            f"| {name} | {row[name]:.2f} | {row[f'content {name}']:.0%} |" for name in ("base", "clean", "rotted")
        ]
    return lines


ARMS: dict[str, Callable[[Studies], dict[str, Any]]] = {
    **{f"style-{name}": _style(name) for name in ("particles", "halftone", "collage", "vhs", "heart")},
    "overtraining": _overtraining,
    "corruption": _corruption,
}


if __name__ == "__main__":
    sys.exit(main())
