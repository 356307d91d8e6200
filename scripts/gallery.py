"""Draw what every corruption does: ``python3 scripts/gallery.py [--operation NAME] [--to FOLDER]``.

It writes docs/gallery: README.md, which lists all operations of the registry, and a sheet for each family of those on
pictures. With ``--operation`` only the sheet of that operation's family is drawn again.
"""

import argparse
import html
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "gallery"
SHOWN = ("chelsea.png", "astronaut.png")
SEVERITIES = (0.0, 0.25, 0.5, 1.0)
SIDE, GAP, TITLE = 152, 4, 36  # pixels; pictures are damaged at the size they are shown in
QUALITY = 76
SUBJECTS = {
    "pictures": "Pictures",
    "captions": "Captions",
    "latents": "Latents",
    "conditioning": "Conditioning",
    "sizes": "Sizes",
    "loras": "LoRAs",
    "activations": "Activations",
}
UNTAGGED = ("loras", "activations")  # their damage is in a network, which has no caption
TRIGGER = "glitchwork"
EXAMPLES = (
    f"{TRIGGER}, a smiling woman in a red coat in front of a small house",
    f"{TRIGGER}, cat, green eyes, whiskers, close-up, soft light, wooden floor",
)


def main() -> int:
    """Write the page and the sheets; return 0."""
    from rerun import again_in_environment, in_environment

    arguments = _arguments()
    if not in_environment():
        return again_in_environment(str(Path(__file__).resolve()), ("demo",))
    from as_package import register_pack

    register_pack()
    from glitch_lora.glitch.registry import all_operations, find_operation

    chosen = find_operation(arguments.operation).family if arguments.operation else None
    arguments.to.mkdir(parents=True, exist_ok=True)
    for family, members in groupby(all_operations(), lambda operation: operation.family):
        if chosen in (None, family):
            path = arguments.to / sheet_name(family)
            draw_sheet(list(members)).save(path, quality=QUALITY, optimize=True)
            print(path)
    (arguments.to / "README.md").write_text(page(), encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Draw what every corruption does.")
    parser.add_argument("--operation", metavar="NAME", help="draw only the sheet that this operation is on")
    parser.add_argument("--to", type=Path, default=FOLDER, help="the folder to write to (default: docs/gallery)")
    return parser.parse_args()


def sheet_name(family: str) -> str:
    """Return the file name of a family's sheet."""
    return f"{family.replace(' ', '-')}.jpg"


# Sheets


def draw_sheet(operations: Sequence[Any]) -> Any:
    """Return a picture with a row for each operation: two photographs, each clean and at three severities."""
    from PIL import Image, ImageDraw, ImageFont

    columns = len(SHOWN) * len(SEVERITIES)
    sheet = Image.new("RGB", (columns * (SIDE + GAP) + GAP, len(operations) * (SIDE + TITLE)), "white")
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(15), ImageFont.load_default(11)
    for row, operation in enumerate(operations):
        top = row * (SIDE + TITLE)
        draw.text((GAP, top + 1), operation.name, "black", large)
        left = GAP + draw.textlength(operation.name, large) + 12
        draw.text((left, top + 5), _defaults(operation, small, sheet.width - left - GAP), "#606060", small)
        for column, (picture, severity) in enumerate(cells(operation)):
            left = GAP + column * (SIDE + GAP)
            sheet.paste(picture, (left, top + TITLE))
            words = f"{severity:g}" if severity else "clean"
            draw.text((left + SIDE - 4, top + 19), words, "black", small, anchor="ra")
    return sheet


def cells(operation: Any) -> list[tuple[Any, float]]:
    """Return (picture, severity) of an operation's row, from left to right."""
    from demo_photographs import CAPTIONS
    from glitch_lora.dataset.seeds import generator
    from glitch_lora.glitch.context import Context

    pictures = [_photograph(name) for name in CAPTIONS]
    found = []
    for shown in SHOWN:
        place = list(CAPTIONS).index(shown)
        company = Context(pictures, place, lambda: generator(0, operation.name, "shared"))
        for severity in SEVERITIES:
            stream = generator(0, operation.name, shown)
            found.append((operation.apply(pictures[place], stream, severity, company), severity))
    return found


def _photograph(name: str) -> Any:
    import skimage.data
    from PIL import Image, ImageOps

    with Image.open(Path(skimage.data.__file__).parent / name) as image:
        return ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS)


def _defaults(operation: Any, font: Any, room: float) -> str:
    """Return the settings in as many words as there is room for."""
    settings = [f"{parameter.name} {_value(parameter.default)}" for parameter in operation.parameters]
    shown = ", ".join(settings)
    while font.getlength(shown) > room:
        settings.pop()
        shown = ", ".join([*settings, "..."])
    return shown


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


# The page


def page() -> str:
    """Return the page in Markdown: what there is to corrupt, family by family."""
    from glitch_lora.glitch.registry import all_operations

    lines: list[str] = []
    for subject, title in SUBJECTS.items():
        operations = all_operations(subject)
        if operations:
            lines.append(f"## {title}\n")
        for family, members in groupby(operations, lambda operation: operation.family):
            lines += [*_family(subject, family, list(members)), ""]
        if subject == "captions" and operations:
            lines += _captions(operations)
    text = "\n".join(lines).rstrip()
    return "\n".join([_HEAD, *_index(text.splitlines()), "", text, ""])


def _index(lines: Sequence[str]) -> list[str]:
    """Return a line for each title, with links to what is below it, as GitHub names the places of a page."""
    found: list[str] = []
    taken = Counter([_anchor(_HEAD.splitlines()[0])])
    for line in lines:
        if line.startswith(("## ", "### ")):
            title, place = line.lstrip("# "), _anchor(line)
            link = f"[{title}](#{place}{f'-{taken[place]}' if taken[place] else ''})"
            taken[place] += 1
            if line.startswith("## "):
                found.append(f"- **{link}**")
            else:
                found[-1] += f"{', ' if ': ' in found[-1] else ': '}{link}"
    return found


def _anchor(heading: str) -> str:
    return heading.lstrip("# ").lower().replace(" ", "-")


_HEAD = f"""# Every corruption

    python3 scripts/gallery.py                    # draw everything again
    python3 scripts/gallery.py --operation NAME   # draw the sheet that an operation is on

Each row of a sheet is an operation with its default settings on two photographs: clean, and at severity
{", ".join(f"{severity:g}" for severity in SEVERITIES[1:])}. Pictures are damaged at the size they are shown in,
{SIDE} pixels.

- *settings*: the default, then what is allowed; severity 1 is the setting as given
- *tag*: the word that `glitch_tags` puts into captions
- *measured by*: the [metric](../detectors.md) that rises with severity, or falls where it says so
"""


def _family(subject: str, family: str, operations: Sequence[Any]) -> list[str]:
    lines = [f"### {family.capitalize()}\n"]
    if subject == "pictures":
        lines.append(f"![{family}]({sheet_name(family)})\n")
    titles = ["operation", "what it does", "settings", *_columns(operations[0])]
    lines += [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    return lines + [_row(operation) for operation in operations]


def _columns(operation: Any) -> dict[str, str]:
    """Return title -> what it says of an operation, of the columns that not every subject has.

    A caption names what was done to its picture, not what was done to a network.
    """
    measured = operation.measured_by
    words = f"{measured[1:]} falls" if measured.startswith("-") else measured
    tag = {"tag": f"`{operation.tag}`"} if operation.subject not in UNTAGGED else {}
    return tag | ({"measured by": words} if operation.subject == "pictures" else {})


def _row(operation: Any) -> str:
    settings = "<br>".join(_setting(parameter) for parameter in operation.parameters)
    cells = (f"`{operation.name}`", operation.summary, settings, *_columns(operation).values())
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _setting(parameter: Any) -> str:
    allowed = ", ".join(parameter.choices) if parameter.choices else parameter.allowed()
    return f"`{parameter.name}` {_value(parameter.default)} ({allowed})"


def _captions(operations: Sequence[Any]) -> list[str]:
    """Return a table of what each operation makes of a sentence and of a list of tags."""
    head = f"### Examples\n\nAt severity 1. `{TRIGGER}` is the trigger word, and the pictures went through JPEG.\n"
    lines = [head, f"| operation | {' | '.join(f'*{caption}*' for caption in EXAMPLES)} |", "|---|---|---|"]
    for operation in operations:
        texts = (html.escape(_changed(operation, place), quote=False) or "(nothing)" for place in range(len(EXAMPLES)))
        lines.append(f"| {' | '.join(_cell(cell) for cell in (f'`{operation.name}`', *texts))} |")
    return [*lines, ""]


def _changed(operation: Any, place: int) -> str:
    from demo_photographs import CAPTIONS
    from glitch_lora.dataset.seeds import generator
    from glitch_lora.glitch.context import Context

    captions = [*EXAMPLES, *(f"{TRIGGER}, {caption}" for caption in CAPTIONS.values())]
    damage = (("jpeg_recompression", 0.7),)
    company = Context(captions, place, lambda: generator(0, operation.name, "shared"), (TRIGGER,), damage)
    return operation.apply(captions[place], generator(0, operation.name, place), 1.0, company)


def _cell(text: str) -> str:
    """Return text that stays in one cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").splitlines())


if __name__ == "__main__":
    sys.exit(main())
