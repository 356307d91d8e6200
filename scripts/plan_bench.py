"""The workflow that breaks a picture without any training: 02-databend-bench."""

from typing import Any

from plans import NARROW, Group, Plan, node, note

PICTURE = "example.png"  # ComfyUI comes with a picture of this name

START = """## Databend bench

Choose a picture in **Load Image** and press **Run**: four benches break it side by side. No model, no training.

- **Files**: the bytes of a JPEG, then the row filters of a PNG.
- **Signal**: composite video, then a worn tape.
- **Pixels**: sorted, torn, printed in the wrong place.
- **Motion**: a video codec that lost its key frame, then repeats what moves.

Every node has one dial, *severity*: the same seed shows the same glitch growing. Choose another *operation* and only \
its own settings are shown."""

CHAIN = """**Chain them**: each **Corrupt Image** passes its picture on. Ctrl+B takes one out.

**Where**: connect a *mask*, and the damage stays inside it.

**A batch**: each picture gets damage of its own; collage and datamosh take their material from the others."""

KEEP = """**Keep**: **Save Image** behind the bench you like.

**Train on it**: the same operations are in **Corrupt Dataset**, for every picture of a dataset at once."""


def _corrupt(operation: str, height: int, seed: int = 0, severity: float = 1.0, **settings: Any) -> dict[str, Any]:
    values = {"operation": operation, **{f"operation.{name}": value for name, value in settings.items()}}
    title = operation.replace("_", " ").capitalize()  # seven nodes of one name could not be told apart
    return node("GlitchCorruptImage", height=height, title=title, values=values | {"severity": severity, "seed": seed})


# Heights leave room for the newer, taller design of nodes ("Nodes 2.0") and for the pictures that nodes show.
NODES: dict[str, dict[str, Any]] = {
    "start": note("Start here", START, NARROW, 420),
    "picture": node("LoadImage", height=420, values={"image": PICTURE}),
    "chaining": note("Chains", CHAIN, NARROW, 240),
    "keeping": note("What then", KEEP, NARROW, 170),
    "bits": _corrupt("jpeg_bitstream", 420, severity=0.4),
    "filters": _corrupt("png_filter", 360, severity=0.5),
    "files": node("PreviewImage", 420, 440, title="Files"),
    "composite": _corrupt("composite_video", 480),
    "tape": _corrupt("vhs_tape", 480, severity=0.6),
    "signal": node("PreviewImage", 420, 440, title="Signal"),
    "sort": _corrupt("pixel_sort", 480, severity=0.7),
    "tear": _corrupt("slice_displacement", 360, severity=0.5),
    "fringe": _corrupt("channel_shift", 520, severity=0.8),
    "pixels": node("PreviewImage", 420, 440, title="Pixels"),
    "melt": _corrupt("datamosh_melt", 420, severity=0.5),
    "bloom": _corrupt("datamosh_bloom", 420, severity=0.3),
    "motion": node("PreviewImage", 420, 440, title="Motion"),
}

ROWS: list[list[Group]] = [
    [
        ("Picture", "#3f789e", [["start", "chaining"], ["picture", "keeping"]]),
        ("Files", "#b06634", [["bits", "filters"], ["files"]]),
        ("Signal", "#88A", [["composite", "tape"], ["signal"]]),
    ],
    [
        ("Pixels", "#a1309b", [["sort", "tear"], ["fringe"], ["pixels"]]),
        ("Motion", "#8A8", [["melt", "bloom"], ["motion"]]),
    ],
]

LINKS: list[tuple[str, str, str, str]] = [
    ("picture", "IMAGE", "bits", "images"),
    ("bits", "images", "filters", "images"),
    ("filters", "images", "files", "images"),
    ("picture", "IMAGE", "composite", "images"),
    ("composite", "images", "tape", "images"),
    ("tape", "images", "signal", "images"),
    ("picture", "IMAGE", "sort", "images"),
    ("sort", "images", "tear", "images"),
    ("tear", "images", "fringe", "images"),
    ("fringe", "images", "pixels", "images"),
    ("picture", "IMAGE", "melt", "images"),
    ("melt", "images", "bloom", "images"),
    ("bloom", "images", "motion", "images"),
]

BENCH = Plan("02-databend-bench", NODES, ROWS, LINKS, (f"input/{PICTURE}",))
