"""Does a LoRA learn the damage of its dataset? ``python3 benchmarks/glitch_studies.py [ARM ...]`` asks the demo model.

reproduce-*  the same drawings are trained clean and damaged, with the same seed. Each picture of the damaged training
             is measured by the damage's own detector against the picture of the clean one, of the same prompt and seed.
tags-*       half of the pictures are damaged, and their captions say so with the damage's tag: what does the tag do in
             the prompt, and in the negative prompt?

Prompts are pairs of colour and shape that nothing was trained on. Intervals are of the mean difference, 95 %, by
bootstrap over the pictures. A finished arm is a line of DIR/rows.jsonl and is not run again. All arms take about half
an hour on two cores. ``--docs`` writes the tables and grids into docs/glitch-studies.md and docs/images.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from studies import ROOT, Studies, arguments, interval, write_tables
from style_questions import style_questions

PICTURES, STEPS, TAG_STEPS, SHOWN = 24, 300, 600, 4
NEEDED, TAGS_NEEDED = 6, 2  # operations whose damage has to be learnt, and whose tag has to work
# Operation, settings fit for 64 pixels, and its detector.
DAMAGE: dict[str, tuple[dict[str, Any], str]] = {
    "jpeg_recompression": ({"quality": 8}, "blockiness"),
    "channel_shift": ({"red_x": 3, "blue_x": -3, "vary": 0.0}, "misregistration"),
    "slice_displacement": ({}, "tear_rate"),
    "grain": ({}, "noise"),
    "sensor_banding": ({}, "row_banding"),
    "defocus": ({}, "blur"),
    "scan_lines": ({"period": 4}, "line_index"),
    "resolution_crush": ({}, "blur"),
}
# Damage that is named by tags, and a measure of how strong it is (the share of lines says only whether there are some).
TAGGED = {
    "scan_lines": "row_banding",
    "sensor_banding": "row_banding",
    "defocus": "blur",
    "channel_shift": "misregistration",
}


def main() -> int:
    """Return 0 when enough damage is learnt and enough tags work."""
    from rerun import again_in_environment, in_environment

    given = arguments(
        "Measure whether a LoRA learns the damage of its dataset.",
        ARMS,
        "glitch-studies",
        "write docs/glitch-studies.md and its grids",
    )
    if not in_environment():
        return again_in_environment(str(Path(__file__).resolve()), ("demo",))
    from demo_pictures import import_host

    import_host()
    studies = Studies(given.work)
    for name in given.arms:
        studies.run(name, ARMS[name])
    rows = {name: row for name in ARMS if (row := studies.row(name))}
    if given.docs:
        studies.document(rows, "glitch")
        write_tables(ROOT / "docs" / "glitch-studies.md", _tables(rows))
    learnt = [name for name in rows if name in LEARNING and rows[name]["low"] > 0]
    working = [name for name in rows if name in TAGS and _tag_works(rows[name])]
    holds = len(learnt) >= NEEDED and len(working) >= TAGS_NEEDED
    print(f"learnt: {len(learnt)} of {sum(name in LEARNING for name in rows)} kinds of damage")
    print(f"tags that work: {len(working)} of {sum(name in TAGS for name in rows)}")
    print("the bars hold" if holds else "the bars do not hold")
    return 0 if holds else 1


def _clean(studies: Any) -> Any:
    """Return the drawings every arm trains on: one thing each, in solid colours, on plain grounds."""
    from glitch_lora.demo.datasets import DrawnPicture, dataset_scene
    from glitch_lora.demo.scenes import draw

    scenes = [dataset_scene("vhs", index) for index in range(PICTURES)]
    return studies.dataset("plain", [DrawnPicture(draw(scene), scene.caption) for scene in scenes])


def _questions() -> tuple[list[str], list[int]]:
    asked = style_questions("vhs")
    return [question.prompt for question in asked], [question.seed for question in asked]


def _control(studies: Any) -> list[Any]:
    """Return the clean training's pictures of the questions; made once, then read again."""
    import numpy as np

    kept = studies.work / f"control-{studies.weights.replace(' ', '-')}.npy"
    if not kept.is_file():
        np.save(kept, np.stack(_trained(studies, "clean", _clean(studies), STEPS)))
    return list(np.load(kept, allow_pickle=False))


def _trained(studies: Any, name: str, dataset: Any, steps: int) -> list[Any]:
    from demo_pictures import pictures

    trained = studies.train(name, dataset, steps=steps, checkpoint_every=steps)
    return pictures(studies.with_checkpoint(trained.checkpoints[steps]), *_questions())


def _reproduce(operation: str, studies: Any) -> dict[str, Any]:
    """Train clean and damaged; compare the pictures in pairs."""
    import numpy as np
    from glitch_lora.glitch.step import corruption

    settings, detector = DAMAGE[operation]
    clean = _clean(studies)
    damaged = clean.with_step(corruption(operation, settings))
    control = _control(studies)
    learnt = _trained(studies, f"reproduce-{operation}", damaged, STEPS)
    before, after = _measured(detector, control), _measured(detector, learnt)
    shown = [np.asarray(damaged.sample(index).image) for index in range(SHOWN)]
    cells = [cell for row in zip(control, learnt, shown, strict=False) for cell in row]
    columns = ["trained on clean pictures", "trained on damaged ones", "a damaged picture of the dataset"]
    studies.grid(f"reproduce-{operation}", f"{operation} in the dataset", columns, _questions()[0][:SHOWN], cells)
    of_dataset = [
        float(np.mean(_measured(detector, [np.asarray(data.sample(index).image) for index in range(PICTURES)])))
        for data in (clean, damaged)
    ]
    return {
        "detector": detector,
        "settings": settings,
        "dataset clean": of_dataset[0],
        "dataset damaged": of_dataset[1],
        "clean": float(np.mean(before)),
        "damaged": float(np.mean(after)),
        **_difference(before, after),
    }


def _tags(operation: str, studies: Any) -> dict[str, Any]:
    """Train on clean and damaged twins whose captions tell; ask with the tag, without it, and against it."""
    import numpy as np
    from demo_pictures import pictures
    from glitch_lora.dataset.derived import with_copies
    from glitch_lora.glitch.registry import find_operation
    from glitch_lora.glitch.step import corruption

    settings, detector = DAMAGE[operation][0], TAGGED[operation]
    tag = find_operation(operation).tag
    both = with_copies(_clean(studies), corruption(operation, settings), keep_clean=True)
    both = both.with_step(corruption("glitch_tags", {"position": "prefix"}))
    trained = studies.train(f"tags-{operation}", both, steps=TAG_STEPS, checkpoint_every=TAG_STEPS)
    parts = studies.with_checkpoint(trained.checkpoints[TAG_STEPS])
    plain, seeds = _questions()
    tagged = [f"{tag}, {prompt}" for prompt in plain]
    drawn = {
        "without": pictures(parts, plain, seeds),
        "prompt": pictures(parts, tagged, seeds),
        "both": pictures(parts, tagged, seeds, negative=tag),
        "negative": pictures(parts, plain, seeds, negative=tag),
    }
    values = {name: _measured(detector, group) for name, group in drawn.items()}
    cells = [cell for row in zip(*(drawn[name][:SHOWN] for name in drawn), strict=True) for cell in row]
    columns = ["no tag", f"{tag} in the prompt", "in both", f"{tag} in the negative prompt"]
    studies.grid(f"tags-{operation}", f"{operation}, named {tag} in the captions", columns, plain[:SHOWN], cells)
    return {
        "detector": detector,
        "tag": tag,
        "settings": settings,
        **{name: float(np.mean(found)) for name, found in values.items()},
        "on": _difference(values["without"], values["prompt"]),
        "down": _difference(values["prompt"], values["both"]),
        "off": _difference(values["without"], values["negative"]),
    }


def _measured(detector: str, drawn: Sequence[Any]) -> list[float]:
    from glitch_lora.metrics.registry import find_metric

    return [find_metric(detector).function(picture) for picture in drawn]


def _difference(before: Sequence[float], after: Sequence[float]) -> dict[str, float]:
    """Return the mean of the paired differences and its 95 % interval."""
    import numpy as np

    difference, low, high = interval(np.asarray(after) - np.asarray(before))
    return {"difference": difference, "low": low, "high": high}


def _tag_works(row: dict[str, Any]) -> bool:
    """Say whether the tag turns its damage on in the prompt, and down in the negative prompt."""
    return row["on"]["low"] > 0 and row["down"]["high"] < 0


def _tables(rows: dict[str, dict[str, Any]]) -> list[str]:
    lines = [
        "| damage in the dataset | detector | dataset clean, damaged | trained on clean | on damaged | difference |",
        "|---|---|---|---|---|---|",
    ]
    for name in (name for name in rows if name in LEARNING):
        row = rows[name]
        dataset = f"{row['dataset clean']:.3g}, {row['dataset damaged']:.3g}"
        trained = f"{row['clean']:.3g} | {row['damaged']:.3g}"
        operation = name.removeprefix("reproduce-")
        lines.append(f"| {operation} | {row['detector']} | {dataset} | {trained} | {_interval(row)} |")
    lines += [
        "",
        "| tag | detector | no tag | in the prompt | in both | only negative | on | down |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in (name for name in rows if name in TAGS):
        row = rows[name]
        values = " | ".join(f"{row[key]:.3g}" for key in ("without", "prompt", "both", "negative"))
        lines.append(
            f"| {row['tag']} | {row['detector']} | {values} | {_interval(row['on'])} | {_interval(row['down'])} |"
        )
    return lines


def _interval(row: dict[str, float]) -> str:
    return f"{row['difference']:+.3g} ({row['low']:+.3g} to {row['high']:+.3g})"


LEARNING = {f"reproduce-{operation}": partial(_reproduce, operation) for operation in DAMAGE}
TAGS = {f"tags-{operation}": partial(_tags, operation) for operation in TAGGED}
ARMS: dict[str, Callable[[Any], dict[str, Any]]] = {**LEARNING, **TAGS}


if __name__ == "__main__":
    sys.exit(main())
