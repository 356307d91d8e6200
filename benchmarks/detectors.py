"""Which metric answers to which corruption: ``python3 benchmarks/detectors.py [OPERATION ...]``.

Corrupts four photographs of 512x512 pixels with every operation at severity 1, and prints the medians of every metric
as the tables of docs/detectors.md; ``--docs`` writes that page. Without names all operations run, in about two minutes
on one core.
"""

import argparse
import platform
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "scripts"))

SIDE = 512
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png")
REFERENCE = ("rocket.jpg", "retina.jpg", "grass.png", "gravel.png", "brick.png", "hubble_deep_field.jpg")
SEED = 1
BAR = 5.0  # robust z-score of a change, of what clean photographs differ by
PAGE = ROOT / "docs" / "detectors.md"

Values = dict[str, float]


def main() -> int:
    """Return 0."""
    from rerun import again_in_environment, in_environment

    arguments = _arguments()
    if not in_environment():
        return again_in_environment(str(Path(__file__).resolve()))
    from as_package import register_pack

    register_pack()
    text = page(measured(arguments.operations), seconds())
    if arguments.docs:
        PAGE.write_text(text, "utf-8")
    else:
        print(text)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure which metric answers to which corruption.")
    parser.add_argument("operations", nargs="*", metavar="OPERATION", help="names of operations (default: all)")
    parser.add_argument("--docs", action="store_true", help="write docs/detectors.md")
    arguments = parser.parse_args()
    if arguments.docs and arguments.operations:
        parser.error("--docs: the page has every operation, leave the names out")
    return arguments


def photograph(file: str) -> Any:
    """Return a photograph's middle square, 512x512 pixels, RGB."""
    import skimage
    from PIL import Image

    with Image.open(Path(skimage.__file__).parent / "data" / file) as image:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        middle = image.convert("RGB").crop((left, top, left + side, top + side))
    return middle.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def measured(names: Sequence[str]) -> dict[str, list[Values]]:
    """Return operation -> metric values of each photograph; "clean" comes first."""
    from glitch_lora.dataset.seeds import generator
    from glitch_lora.glitch.registry import all_operations, find_operation
    from glitch_lora.metrics.registry import compare, measure, to_array

    clean = [photograph(file) for file in PHOTOGRAPHS]
    plain = [to_array(picture) for picture in clean]
    rows = {"clean": [measure(picture) | compare(picture, picture) for picture in plain]}
    for operation in [find_operation(name) for name in names] or all_operations("pictures"):
        damaged = [to_array(operation.apply(one, generator(SEED, operation.name), 1.0)) for one in clean]
        rows[operation.name] = [measure(one) | compare(one, other) for one, other in zip(damaged, plain, strict=True)]
        print(operation.name, file=sys.stderr)
    return rows


def seconds() -> float:
    """Return how long all single-picture metrics of one picture take on one core, the best of three."""
    from glitch_lora.metrics.registry import measure, to_array

    picture, taken = to_array(photograph(PHOTOGRAPHS[0])), []
    for _ in range(3):
        started = time.thread_time()
        measure(picture)
        taken.append(time.thread_time() - started)
    return min(taken)


def spreads() -> Values:
    """Return by how much clean photographs differ in each single-picture metric."""
    from glitch_lora.metrics.profile import Reference
    from glitch_lora.metrics.registry import to_array

    reference = Reference.of([to_array(photograph(file)) for file in (*PHOTOGRAPHS, *REFERENCE)])
    return {name: 1 / (reference.score(name, 1.0) - reference.score(name, 0.0)) for name in reference.values}


def page(rows: Mapping[str, list[Values]], taken: float) -> str:
    """Return the text of docs/detectors.md."""
    from glitch_lora.glitch.registry import find_operation
    from glitch_lora.metrics.registry import all_metrics

    spread = spreads()
    own = {name: find_operation(name).measured_by if name != "clean" else "" for name in rows}
    single, paired = all_metrics("single"), all_metrics("paired")
    groups = {
        "Detectors": [one.name for one in single if one.detector],
        "Other metrics of one picture": [one.name for one in single if not one.detector],
        "Metrics of a picture and its original": [one.name for one in paired],
    }
    names = {"names": _listed(PHOTOGRAPHS), "others": _listed(REFERENCE), "versions": _versions()}
    head = _HEAD.format(bar=BAR, taken=taken, **names).split("\n\n")
    parts = [textwrap.fill(paragraph, 120) for paragraph in head]
    parts += [f"## {title}\n\n{_table(names, rows, spread, own)}" for title, names in groups.items()]
    legend = "\n".join(_explained(one) for one in single + paired)
    return (
        "\n\n".join(
            [
                *parts,
                f"## What the columns are\n\nIn brackets the title under which the nodes' tables show it.\n\n{legend}",
            ]
        )
        + "\n"
    )


def _explained(metric: Any) -> str:
    """Return a metric by its name here, and by the title that the nodes' tables and menus show."""
    return f"- `{metric.name}` ({metric.title}){f', {metric.unit}' if metric.unit else ''}: {metric.summary}"


_HEAD = """# Which metric answers to which corruption

Every figure on this page comes from `python3 benchmarks/detectors.py --docs` (about two minutes on one free core). Four
photographs ({names}) of 512x512 pixels are corrupted by each operation with its own settings at severity 1; a figure
is the median over the four. The second column is the metric the operation says it is measured by ("-": it falls).

A figure is **bold** when the median change from the same photograph, unharmed, is more than {bar:g} times what clean
photographs differ by (a robust standard deviation over these photographs and {others}). Metrics of a picture
and its original have no such scale: they are 0 without damage. No metric says how good a picture is, or how glitchy.

All metrics of one picture together take {taken:.2f} s on one core. Made with {versions}."""


def _listed(files: Sequence[str]) -> str:
    return ", ".join(file.split(".")[0].removesuffix("_left").replace("_", " ") for file in files)


def _versions() -> str:
    import numpy
    import scipy
    from glitch_lora.glitch.registry import codec_versions

    codecs = codec_versions(("libjpeg_turbo", "webp", "avif", "jpg_2000", "zlib", "av"))
    versions = {"Python": platform.python_version(), "numpy": numpy.__version__, "scipy": scipy.__version__, **codecs}
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _table(names: Sequence[str], rows: Mapping[str, list[Values]], spread: Values, own: Mapping[str, str]) -> str:
    lines = [f"| | measured by | {' | '.join(names)} |", "|---|---|" + "---:|" * len(names)]
    for operation, values in rows.items():
        cells = [_cell(name, values, rows["clean"], spread) for name in names]
        lines.append(f"| {operation} | {own[operation]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(name: str, values: Sequence[Values], clean: Sequence[Values], spread: Values) -> str:
    """Return a figure, bold when it stands out."""
    figure = _figure(median(row[name] for row in values))
    if name not in spread:
        return figure
    change = median(row[name] - plain[name] for row, plain in zip(values, clean, strict=True))
    return f"**{figure}**" if abs(change) > BAR * spread[name] else figure


def _figure(value: float) -> str:
    """Return three digits, or the whole number of a large value."""
    if abs(value) < 0.0005:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
