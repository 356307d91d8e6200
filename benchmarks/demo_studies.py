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

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from studies import Studies, arguments, mean
from style_questions import content, kept_back, style_questions

PICTURES = 24  # of a style's dataset
STYLE_STEPS, STYLE_EVERY = 400, 100
OVER_STEPS, OVER_EVERY = 1200, 300
SHOWN = 4  # prompts in a grid
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


def main() -> int:
    """Return 0 when the bars of every arm asked for hold."""
    from rerun import again_in_environment, in_environment

    given = arguments(
        "Measure what training does to the demo model.",
        ARMS,
        "demo-studies",
        "copy the grids to docs/images and print the tables",
    )
    if not in_environment():
        return again_in_environment(str(Path(__file__).resolve()), ("demo",))
    from demo_pictures import import_host

    import_host()
    studies = Studies(given.work)
    for name in given.arms:
        studies.run(name, ARMS[name])
    if given.docs:
        rows = {name: row for name in ARMS if (row := studies.row(name))}
        studies.document(rows, "demo")
        print("\n".join(_tables(rows)))
    failed = [name for name in given.arms if not _holds(name, studies.row(name))]
    print(f"bars do not hold: {', '.join(failed)}" if failed else "all bars hold")
    return 1 if failed else 0


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
    drawn = [one for one in draw_dataset(style, 2 * PICTURES) if not kept_back(style, one.caption)][:PICTURES]
    dataset = studies.dataset(style, drawn)
    if style != "heart":
        dataset = dataset.with_step(TriggerWord(trigger))
    trained = studies.train(style, dataset, steps=STYLE_STEPS, checkpoint_every=STYLE_EVERY)
    questions = style_questions(style)
    plain = [question.prompt for question in questions]
    asked = [question.styled for question in questions]
    seeds = [question.seed for question in questions]
    goal = mean(STYLES[style].measure, [one.pixels for one in drawn])
    rows: list[dict[str, Any]] = []
    shown = []
    for step in (0, *trained.checkpoints):
        parts = studies.with_checkpoint(trained.checkpoints.get(step))
        with_word, without = _pictures(parts, asked, seeds), _pictures(parts, plain, seeds)
        row = {"step": step, "measure": mean(STYLES[style].measure, with_word)}
        row["without word"] = mean(STYLES[style].measure, without)
        base = rows[0] if rows else row
        row["moved"] = _way(base["measure"], row["measure"], goal)
        row["leaked"] = _way(base["without word"], row["without word"], goal)
        rows.append(row | content(style, questions, with_word))
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
        parts = studies.with_checkpoint(trained.checkpoints.get(step))
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
    questions = style_questions("vhs")
    prompts = [f"glitchwork, {question.prompt}" for question in questions]
    seeds = [question.seed for question in questions]
    row: dict[str, Any] = {"questions": len(questions)}
    drawn = {"base": _pictures(studies.parts, prompts, seeds)}
    for name, dataset in (("clean", flat), ("rotted", rotted)):
        row[f"dataset {name}"] = mean(blockiness, [_pixels(dataset, index) for index in range(PICTURES)])
        trained = studies.train(f"corruption-{name}", dataset, steps=STYLE_STEPS, checkpoint_every=STYLE_STEPS)
        drawn[name] = _pictures(studies.with_checkpoint(trained.checkpoints[STYLE_STEPS]), prompts, seeds)
        row[f"train_seconds {name}"] = round(trained.seconds, 1)
    row |= {name: mean(blockiness, pictures) for name, pictures in drawn.items()}
    row |= {f"content {name}": content("vhs", questions, pictures)["both"] for name, pictures in drawn.items()}
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
